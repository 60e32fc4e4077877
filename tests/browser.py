"""Opens a report in headless Chromium and writes what a person would find in it, as JSON.

Reads {"page": FILE, "chromium": PROGRAM, "table": NAME, "project": TITLE, "changed": TITLE, "shots": FOLDER or null}
from standard input.
"""

import json
import pathlib
import sys

from playwright.sync_api import sync_playwright

ROWS = """id => [...document.querySelectorAll('#' + id + ' tbody tr')].map(
    row => [...row.children].map(cell => cell.textContent))"""
SERIES = """id => {
    const node = document.getElementById(id);
    node.scrollIntoView();
    return new Promise(done => {
        const look = () => {
            const chart = echarts.getInstanceByDom(node);
            if (!chart) { setTimeout(look, 20); return; }
            const option = chart.getOption();
            const axis = [...(option.xAxis ?? []), ...(option.yAxis ?? [])].find(a => a.type === 'category');
            const value = (option.yAxis ?? [])[0];
            done({min: value?.min, max: value?.max, axis: axis?.data ?? [], series: option.series.map(s => ({name: s.name, data: s.data, links: s.links}))});
        };
        look();
    });
}"""
# What sticks out of the page, or is cut off where it is: a chart draws into its own place.
OUTSIDE = """[...document.querySelectorAll('main *, header *')]
    .filter(e => !e.closest('.chart, .spark') && e.getBoundingClientRect().width > 0)
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1
        || (e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && getComputedStyle(e).overflowX !== 'visible' && e.tagName !== 'INPUT'))
    .filter(e => !e.matches('thead, thead *, .skip'))
    .map(e => `${e.tagName}#${e.id}.${e.className}: ${e.textContent.slice(0, 60)}`).slice(0, 5)"""
CHARTS = ["chart-outcomes", "chart-durations", "chart-project", "chart-connections", "chart-tables", "chart-roles", "chart-access"]


def search(page, box, text, keys):
    page.fill(box, "")
    page.type(box, text)
    page.wait_for_selector(box + "-list li")
    for key in keys:
        page.keyboard.press(key)


def look(browser, asked, name, width, height, scheme):
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    said, requests = [], []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda request: requests.append(request.url))
    url = pathlib.Path(asked["page"]).as_uri()
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    found = {"figures": page.evaluate("Object.fromEntries([...document.querySelectorAll('.figure')].map(f => [f.id, f.querySelector('b').textContent]))")}
    found["charts"] = {chart: page.evaluate(SERIES, chart) for chart in CHARTS}
    found["cost"] = page.evaluate(ROWS, "table-cost")
    found["cost_chart"] = page.evaluate(SERIES, "chart-cost")
    search(page, "#search-lineage", asked["table"], ["Enter"])
    found["readers"] = page.evaluate(ROWS, "table-lineage")
    found["readers_title"] = page.inner_text("#lineage-focus")
    found["readers_graph"] = page.evaluate(SERIES, "chart-lineage")
    # By keyboard alone: down and up again, then enter.
    search(page, "#search-lineage", asked["project"], ["ArrowDown", "ArrowUp", "Enter"])
    found["sources"] = page.evaluate(ROWS, "table-lineage")
    found["sources_title"] = page.inner_text("#lineage-focus")
    found["sparks"] = {
        spark: {**page.evaluate(SERIES, spark), "said": page.evaluate("id => document.getElementById(id).parentNode.querySelector('small').textContent", spark)}
        for spark in page.evaluate("[...document.querySelectorAll('.spark')].map(e => e.id)")
    }
    search(page, "#search-lineage", asked["changed"], ["Enter"])
    found["changes"] = page.evaluate(ROWS, "table-changes")
    found["outside"] = page.evaluate(OUTSIDE)
    search(page, "#search-lineage", asked["project"], ["Enter"])
    page.fill("[aria-label='Filter findings']", "owner-left")
    found["findings"] = page.evaluate(ROWS, "table-findings")
    page.fill("[aria-label='Filter findings']", "")
    page.select_option("[aria-label=Severity]", "high")
    found["high"] = page.inner_text("#findings [role=status]")
    found["titles"] = page.evaluate("JSON.parse(document.getElementById('data').textContent).projects.map(p => p.title)")
    found["scripts"] = page.evaluate("document.scripts.length")
    found["injected"] = page.evaluate("document.querySelectorAll('main b:not(.figure b), main img, main script').length")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    found["themes"] = [before, page.evaluate("getComputedStyle(document.body).backgroundColor")]
    page.click("#theme")
    found["overflow"] = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    found["pushed"] = page.evaluate("Math.max(...[...document.querySelectorAll('.scroll')].map(e => e.scrollWidth - e.clientWidth))")
    found["not_covered"] = page.inner_text("#not-covered")
    found["facts"] = page.inner_text("#facts")
    found["grants"] = page.evaluate(ROWS, "table-grants")
    found["rules"] = page.evaluate("document.querySelectorAll('#table-rules tbody tr').length")
    found["paint"] = page.evaluate("performance.getEntriesByType('paint').find(p => p.name === 'first-contentful-paint')?.startTime ?? 0")
    if asked["shots"]:
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=f"{asked['shots']}/{name}.png", full_page=True)
    # On paper: a sheet is 794 pixels wide, less its margins.
    page.set_viewport_size({"width": 718, "height": 1000})
    sheets = page.pdf(format="A4").count(b"/Type /Page\n")
    page.emulate_media(media="print")
    found["paper"] = {
        "sheets": sheets,
        "outside": page.evaluate(OUTSIDE),
        "shown": page.evaluate("[...document.querySelectorAll('nav, .tools, #theme')].filter(e => e.getBoundingClientRect().height > 0).length"),
        "undrawn": page.evaluate("[...document.querySelectorAll('.chart')].filter(e => !echarts.getInstanceByDom(e)).map(e => e.id)"),
    }
    found["said"] = said
    found["requests"] = [request for request in requests if request != url]
    context.close()
    return found


def main():
    asked = json.load(sys.stdin)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=asked["chromium"], args=["--no-sandbox"])
        wide = look(browser, asked, "desktop", 1280, 900, "light")
        narrow = look(browser, asked, "phone", 390, 844, "dark")
        browser.close()
    json.dump({"desktop": wide, "phone": narrow}, sys.stdout)


main()
