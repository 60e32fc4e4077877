'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const main = document.getElementById('main');
  const number = new Intl.NumberFormat('en');
  const severities = ['high', 'medium', 'low', 'info'];
  const charts = [];
  // Rows are compact: the texts that they share are stored once.
  data.projects.forEach((p) => { p.owner = data.texts[p.owner] ?? null; });
  data.findings = data.findings.map(([rule, severity, project, entity, owner, evidence, since]) => ({
    rule: data.rules[rule].rule, severity: severities[severity], project, owner: data.texts[owner] ?? null, evidence, since,
    entity: project === null ? entity : data.projects[project].title,
  }));

  // Everything that a person has written reaches the page as text, never as markup.
  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === 'on') for (const [kind, listener] of Object.entries(value)) node.addEventListener(kind, listener);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : String(child))));
    return node;
  };
  const link = (text, url) => (url && /^https?:\/\//.test(url) ? el('a', { href: url, rel: 'noreferrer noopener', target: '_blank' }, text) : text);
  const day = (text) => (text ? String(text).slice(0, 10) : '');
  const count = (value) => (value === null || value === undefined ? '' : number.format(value));
  const share = (value) => (value === null || value === undefined ? '' : (100 * value).toFixed(1) + ' %');
  const seconds = (value) => {
    if (value === null || value === undefined) return '';
    if (value < 120) return value.toFixed(1) + ' s';
    return value < 7200 ? (value / 60).toFixed(1) + ' min' : (value / 3600).toFixed(1) + ' h';
  };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();

  const section = (id, title, about) => {
    const node = el('section', { id, 'aria-labelledby': id + '-title' }, el('h2', { id: id + '-title' }, title), about ? el('p', {}, about) : null);
    main.append(node);
    document.getElementById('sections').append(el('li', {}, el('a', { href: '#' + id }, title)));
    return node;
  };

  // A chart is drawn from a function, so that it can be drawn again in other colours.
  const chart = (parent, id, label, option, classes = 'chart') => {
    const node = el('div', { id, class: classes, role: 'img', 'aria-label': label });
    parent.append(node);
    const entry = { node, option, instance: null };
    charts.push(entry);
    const draw = () => {
      if (!entry.instance) entry.instance = echarts.init(node);
      entry.instance.setOption(entry.option(), true);
    };
    entry.draw = draw;
    // Charts far below are drawn when they come near.
    new IntersectionObserver((entries, observer) => {
      if (entries.some((e) => e.isIntersecting)) { observer.disconnect(); draw(); }
    }, { rootMargin: '400px' }).observe(node);
    new ResizeObserver(() => { if (entry.instance) { entry.instance.resize(); draw(); } }).observe(node);
    return entry;
  };
  const axes = (categories, more = {}) => ({
    animation: false,
    aria: { enabled: true },
    grid: { left: 8, right: 12, top: 34, bottom: more.zoom ? 46 : 8, containLabel: true },
    legend: { top: 0, textStyle: { color: colour('ink') } },
    // Plain text: a title could hold markup.
    tooltip: { trigger: 'axis', renderMode: 'richText', confine: true },
    dataZoom: more.zoom ? [{ type: 'inside', zoomOnMouseWheel: 'ctrl', startValue: Math.max(0, categories.length - 180) }, { type: 'slider', height: 18, bottom: 6, startValue: Math.max(0, categories.length - 180) }] : [],
    xAxis: { type: 'category', data: categories, axisLabel: { color: colour('soft') }, axisLine: { lineStyle: { color: colour('line') } } },
    yAxis: { type: 'value', axisLabel: { color: colour('soft') }, splitLine: { lineStyle: { color: colour('line') } } },
  });
  const sideways = (names, values, name) => ({
    ...axes([]),
    xAxis: { type: 'value', minInterval: 1, axisLabel: { color: colour('soft') }, splitLine: { lineStyle: { color: colour('line') } } },
    yAxis: { type: 'category', inverse: true, data: names, axisLabel: { color: colour('ink'), width: 170, overflow: 'truncate' } },
    series: [{ name, type: 'bar', data: values, itemStyle: { color: colour('accent') } }],
  });

  // A table that can be sorted and filtered, and shows rows a page at a time.
  const table = (parent, id, columns, rows, options = {}) => {
    const state = { sort: options.sort ?? null, down: options.down ?? true, shown: options.page ?? 15, query: '', keep: () => true };
    const body = el('tbody');
    const said = el('p', { role: 'status' });
    const more = el('button', { type: 'button', on: { click: () => { state.shown += 100; draw(); } } }, 'Show more');
    const heads = columns.map((column, i) => {
      const button = el('button', { type: 'button', on: { click: () => { state.down = state.sort === i ? !state.down : column.kind === 'number'; state.sort = i; draw(); } } }, column.name);
      return el('th', { scope: 'col', class: column.kind }, button);
    });
    const search = el('input', { type: 'search', placeholder: 'Filter', 'aria-label': 'Filter ' + options.label, on: { input: (e) => { state.query = e.target.value.toLowerCase(); draw(); } } });
    parent.append(
      el('div', { class: 'tools' }, search, ...(options.tools ?? [])),
      el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': options.label }, el('table', { id }, el('thead', {}, el('tr', {}, ...heads)), body)),
      el('div', { class: 'tools' }, more, said),
    );
    const texts = rows.map((row) => columns.map((column) => String(column.value(row) ?? '')).join('\n').toLowerCase());
    // A word wider than its column would push the others off the page.
    const cell = (column, row) => {
      const content = (column.show ?? column.value)(row) ?? '';
      const long = /\S{40}/.test(content.textContent ?? content);
      return el('td', { class: long ? 'wide' : column.kind, 'data-name': column.name }, content);
    };
    const draw = () => {
      let at = rows.map((_, i) => i).filter((i) => state.keep(rows[i]) && (!state.query || texts[i].includes(state.query)));
      if (state.sort !== null) {
        const { value } = columns[state.sort];
        at.sort((a, b) => {
          const [x, y] = [value(rows[a]), value(rows[b])];
          if (x === y) return 0;
          if (x === null || x === undefined || x === '') return 1;
          if (y === null || y === undefined || y === '') return -1;
          return (x < y ? -1 : 1) * (state.down ? -1 : 1);
        });
      }
      heads.forEach((head, i) => (i === state.sort ? head.setAttribute('aria-sort', state.down ? 'descending' : 'ascending') : head.removeAttribute('aria-sort')));
      body.replaceChildren(...at.slice(0, state.shown).map((i) => el('tr', {}, ...columns.map((column) => cell(column, rows[i])))));
      said.textContent = `${count(Math.min(at.length, state.shown))} of ${count(at.length)}`;
      more.hidden = at.length <= state.shown;
    };
    draw();
    return { draw, state };
  };

  // Leads to the view of a project or table on this page.
  let show = () => {};
  const viewLink = (kind, index) => el('a', { href: '#lineage', on: { click: () => show({ kind, index, name: kind === 'table' ? data.tables[index].key : data.projects[index].title }) } }, kind === 'table' ? data.tables[index].key : data.projects[index].title);
  const projectLink = (index) => link(data.projects[index].title, data.pages ? data.pages + '/' + data.projects[index].id : null);

  const about = () => {
    const { snapshot } = data;
    document.getElementById('about').textContent =
      `${snapshot.workspace}, snapshot ${snapshot.id}` + (snapshot.complete ? '' : ', incomplete: the last section says what is missing or old');
  };

  const headline = () => {
    const node = section('headline', 'Headline', data.trend.snapshots.length > 1 ? `With the trend over the last ${data.trend.snapshots.length} snapshots.` : null);
    const grid = el('div', { class: 'figures' });
    node.append(grid);
    for (const figure of data.figures) {
      const shown = (figure.kind === 'share' ? share(figure.value) : count(figure.value)) || 'unknown';
      const card = el('div', { class: 'figure', id: 'figure-' + figure.id }, el('b', {}, shown), el('span', {}, figure.name));
      grid.append(card);
      const known = (figure.trend ?? []).filter((v) => v !== null);
      if (known.length > 1) {
        const said = figure.kind === 'share' ? share : count;
        card.append(el('small', {}, `${said(Math.min(...known))} to ${said(Math.max(...known))}`));
        chart(card, 'spark-' + figure.id, figure.name + ' over time', () => ({
          animation: false,
          grid: { left: 0, right: 0, top: 4, bottom: 2 },
          xAxis: { type: 'category', show: false, data: figure.trend.map((_, i) => i) },
          // From zero, so that a small change looks small.
          yAxis: { type: 'value', show: false, min: 0, max: figure.kind === 'share' ? 1 : undefined },
          series: [{ name: figure.name, type: 'line', data: figure.trend, symbol: 'none', lineStyle: { width: 2, color: colour('accent') }, areaStyle: { color: colour('accent'), opacity: 0.12 } }],
        }), 'spark');
      }
    }
  };

  const findings = () => {
    const node = section('findings', 'Findings', 'Audit findings, most severe first.');
    if (data.trend.snapshots.length > 1) {
      chart(node, 'chart-findings', 'Findings by severity over snapshots', () => ({
        ...axes(data.trend.snapshots.map(day)),
        series: severities.map((s) => ({ name: s, type: 'bar', stack: 'findings', data: data.trend.findings[s], itemStyle: { color: colour(s) } })),
      }));
    }
    const only = el('select', { 'aria-label': 'Severity' }, el('option', { value: '' }, 'All severities'), ...severities.map((s) => el('option', { value: s }, `${s} (${count(data.findings.filter((f) => f.severity === s).length)})`)));
    const made = table(node, 'table-findings', [
      { name: 'Severity', value: (f) => f.severity, show: (f) => el('span', { class: 'severity ' + f.severity }, f.severity) },
      { name: 'Rule', value: (f) => f.rule },
      { name: 'What', kind: 'wide', value: (f) => f.entity, show: (f) => (f.project === null ? f.entity : viewLink('project', f.project)) },
      { name: 'Owner', value: (f) => f.owner },
      { name: 'Evidence', kind: 'wide', value: (f) => f.evidence },
      { name: 'Since', kind: 'date', value: (f) => f.since ?? 'unknown' },
    ], data.findings, { label: 'findings', tools: [only] });
    only.addEventListener('change', () => { made.state.keep = (f) => !only.value || f.severity === only.value; made.draw(); });
    node.append(el('h3', {}, 'Rules: what each looks for, and what to do'));
    table(node, 'table-rules', [
      { name: 'Rule', value: (r) => r.rule },
      { name: 'Severity', value: (r) => severities.indexOf(r.severity), show: (r) => el('span', { class: 'severity ' + r.severity }, r.severity) },
      { name: 'Looks for', kind: 'wide', value: (r) => r.looks_for },
      { name: 'What to do', kind: 'wide', value: (r) => r.action },
      { name: 'Findings', kind: 'number', value: (r) => r.findings, show: (r) => (r.why_not ? 'not evaluated' : count(r.findings)) },
      { name: 'Excepted', kind: 'number', value: (r) => r.excepted, show: (r) => count(r.excepted) },
    ], data.rules, { label: 'rules', sort: 4, page: 8 });
  };

  // What is searched for: tables, then projects.
  const subjects = () => [
    ...data.tables.map((t, i) => ({ kind: 'table', index: i, name: t.key, more: data.connections[t.connection]?.name ?? '' })),
    ...data.projects.map((p, i) => ({ kind: 'project', index: i, name: p.title, more: p.owner ?? '' })),
  ].map((s) => ({ ...s, text: (s.name + ' ' + s.more).toLowerCase() }));

  // A text field with a list of matches: arrows choose, enter selects, escape closes.
  const searchBox = (id, label, choices, take) => {
    const list = el('ul', { id: id + '-list', role: 'listbox', hidden: '' });
    const input = el('input', { id, type: 'search', role: 'combobox', 'aria-expanded': 'false', 'aria-controls': id + '-list', 'aria-autocomplete': 'list', autocomplete: 'off', placeholder: label, 'aria-label': label });
    let found = [];
    let at = -1;
    const close = () => { list.hidden = true; input.setAttribute('aria-expanded', 'false'); input.removeAttribute('aria-activedescendant'); };
    const mark = () => {
      [...list.children].forEach((item, i) => item.setAttribute('aria-selected', i === at));
      if (at >= 0 && list.children[at]) { input.setAttribute('aria-activedescendant', list.children[at].id); list.children[at].scrollIntoView({ block: 'nearest' }); }
    };
    const choose = (choice) => { input.value = choice.name; close(); take(choice); };
    const open = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      found = choices.filter((c) => words.every((word) => c.text.includes(word))).slice(0, 30);
      at = found.length ? 0 : -1;
      list.replaceChildren(...found.map((c, i) => el('li', { id: `${id}-${i}`, role: 'option', on: { mousedown: (e) => { e.preventDefault(); choose(c); } } }, c.name, ' ', el('small', {}, `${c.kind}${c.more ? ', ' + c.more : ''}`))));
      list.hidden = !found.length;
      input.setAttribute('aria-expanded', String(!!found.length));
      mark();
    };
    input.addEventListener('input', open);
    input.addEventListener('focus', () => { if (input.value) { input.select(); } });
    input.addEventListener('blur', close);
    input.addEventListener('keydown', (e) => {
      if (e.key === 'ArrowDown' || e.key === 'ArrowUp') {
        if (list.hidden) open();
        else { at = (at + (e.key === 'ArrowDown' ? 1 : -1) + found.length) % Math.max(found.length, 1); mark(); }
        e.preventDefault();
      } else if (e.key === 'Enter' && !list.hidden && found[at]) { choose(found[at]); e.preventDefault(); }
      else if (e.key === 'Escape') close();
    });
    return { node: el('div', { class: 'search' }, input, list), input };
  };

  const lineage = () => {
    const node = section('lineage', 'Projects and tables', 'Search a table to see who reads it, or a project to see what it reads, who can open it, how its runs are doing, and its findings. Click a node in the graph to continue from there.');
    const grants = data.projects.map(() => []);
    data.grants.forEach(([p, kind, principal, level]) => grants[p].push([data.texts[kind], data.texts[principal], data.texts[level]]));
    const statsOf = new Map(data.stats.map((s) => [s.project, s]));
    const findingsOf = data.projects.map(() => []);
    data.findings.forEach((f) => { if (f.project !== null) findingsOf[f.project].push(f); });
    const changesOf = data.projects.map(() => []);
    data.changes.forEach(([p, cell, change, after, before]) => changesOf[p].push([cell, data.texts[change], after, before]));
    const readers = data.tables.map(() => []);
    const sources = data.projects.map(() => []);
    data.edges.forEach(([t, p, evidence, columns]) => { const read = columns.map((c) => data.texts[c]).join(', '); readers[t].push([p, evidence, read]); sources[p].push([t, evidence, read]); });
    const most = 30;
    let focus = null;
    const title = el('h3', { id: 'lineage-focus', role: 'status' });
    const place = el('div');
    const option = () => {
      if (!focus) return { series: [] };
      const isTable = focus.kind === 'table';
      const others = (isTable ? readers : sources)[focus.index].slice(0, most);
      const name = (kind, index) => (kind === 'table' ? data.tables[index].key : data.projects[index].title);
      // Places are pixels, so that symbols keep their shape: two corners that nobody sees span the whole chart.
      const [width, height] = [graph.node.clientWidth, graph.node.clientHeight];
      const [left, right] = [width * 0.38, width * 0.62];
      const step = (height - 40) / Math.max(others.length, 1);
      const corner = (id, x, y) => ({ id, x, y, symbolSize: 0, silent: true });
      const nodeOf = (kind, index, y) => ({
        id: kind + index, name: name(kind, index), x: kind === 'table' ? left : right, y, kind, index,
        symbol: kind === 'table' ? 'rect' : 'circle', symbolSize: 11,
        itemStyle: { color: kind === 'table' ? colour('accent') : colour('good') },
        label: { show: true, color: colour('ink'), position: kind === 'table' ? 'left' : 'right', width: left - 16, overflow: 'truncate' },
      });
      const other = isTable ? 'project' : 'table';
      const nodes = [corner('first', 0, 0), corner('last', width, height), nodeOf(focus.kind, focus.index, height / 2)];
      others.forEach(([index], i) => nodes.push(nodeOf(other, index, 20 + (i + 0.5) * step)));
      return {
        animation: false,
        aria: { enabled: true },
        tooltip: { renderMode: 'richText', confine: true },
        series: [{
          type: 'graph', layout: 'none', left: 0, top: 0, width, height, data: nodes,
          edgeSymbol: ['none', 'arrow'], edgeSymbolSize: 7, lineStyle: { color: colour('soft'), curveness: 0.08 },
          links: others.map(([index]) => (isTable ? { source: focus.kind + focus.index, target: other + index } : { source: other + index, target: focus.kind + focus.index })),
        }],
      };
    };
    // Facts about one project, apart from its tables.
    const facts = (index) => {
      const project = data.projects[index];
      const stats = statsOf.get(index);
      const pairs = [
        ['Owner', project.owner ?? 'nobody'],
        ['State', project.state],
        ['App views in 30 days', project.views === null ? 'unknown' : count(project.views)],
        ['Runs', stats ? `${count(stats.runs)}, ${share(stats.success) || 'none'} succeeded, median ${seconds(stats.p50) || 'unknown'}, ${count(stats.streak)} failed in a row` : 'none known'],
        ['Last run', project.last_run ?? 'never'],
      ];
      const list = el('dl', { id: 'facts' });
      pairs.forEach(([name, value]) => list.append(el('dt', {}, name), el('dd', {}, value)));
      list.append(el('dt', {}, 'In Hex'), el('dd', {}, data.pages ? link('open the project', data.pages + '/' + project.id) : 'unknown'));
      return list;
    };
    const more = (index) => {
      place.append(el('h3', {}, 'Who can open it, by grant'));
      table(place, 'table-grants', [
        { name: 'Kind', value: ([kind]) => kind.replace('_', ' ') },
        { name: 'Who', value: ([, who]) => who },
        { name: 'Access', value: ([, , level]) => level },
      ], grants[index], { label: 'grants', page: 10 });
      place.append(el('h3', {}, 'Findings'));
      table(place, 'table-found', [
        { name: 'Severity', value: (f) => f.severity, show: (f) => el('span', { class: 'severity ' + f.severity }, f.severity) },
        { name: 'Rule', value: (f) => f.rule },
        { name: 'Evidence', kind: 'wide', value: (f) => f.evidence },
        { name: 'Since', kind: 'date', value: (f) => f.since ?? 'unknown' },
      ], findingsOf[index], { label: 'findings of the project', page: 10 });
      place.append(el('h3', {}, 'Changes to its cells in the last 90 days'));
      const moved = changesOf[index];
      if (!moved.length) { place.append(el('p', { id: 'no-changes' }, data.changes_since ? 'No change between two readings.' : 'Unknown: this snapshot has no earlier reading to compare with.')); return; }
      table(place, 'table-changes', [
        { name: 'Cell', kind: 'wide', value: ([cell]) => cell },
        { name: 'Change', value: ([, change]) => change },
        { name: 'After', kind: 'date', value: ([, , after]) => after },
        { name: 'Before', kind: 'date', value: ([, , , before]) => before },
      ], moved, { label: 'changes of cells', sort: 3, page: 10 });
    };
    show = (subject) => {
      box.input.value = subject.name;
      focus = subject;
      const isTable = subject.kind === 'table';
      const others = (isTable ? readers : sources)[subject.index];
      title.textContent = isTable
        ? `${subject.name}: read by ${count(others.length)} projects`
        : `${subject.name}: reads ${count(others.length)} tables`;
      graph.node.style.height = Math.max(140, Math.min(others.length, most) * 24 + 40) + 'px';
      if (graph.instance) graph.instance.resize();
      graph.draw();
      place.replaceChildren();
      if (!isTable) place.append(facts(subject.index));
      if (isTable) {
        table(place, 'table-lineage', [
          { name: 'Project', kind: 'wide', value: ([p]) => data.projects[p].title, show: ([p]) => projectLink(p) },
          { name: 'Owner', value: ([p]) => data.projects[p].owner },
          { name: 'Evidence', value: ([, e]) => data.evidence[e] },
          { name: 'Columns', kind: 'wide', value: ([, , columns]) => columns },
          { name: 'Views in 30 days', kind: 'number', value: ([p]) => data.projects[p].views, show: ([p]) => count(data.projects[p].views) },
          { name: 'Last run', kind: 'date', value: ([p]) => day(data.projects[p].last_run) },
          { name: 'State', value: ([p]) => data.projects[p].state },
        ], others, { label: 'readers', sort: 4 });
      } else {
        table(place, 'table-lineage', [
          { name: 'Table', kind: 'wide', value: ([t]) => data.tables[t].key },
          { name: 'Connection', value: ([t]) => data.connections[data.tables[t].connection]?.name },
          { name: 'Evidence', value: ([, e]) => data.evidence[e] },
          { name: 'Columns', kind: 'wide', value: ([, , columns]) => columns },
          { name: 'Readers', kind: 'number', value: ([t]) => readers[t].length },
        ], others, { label: 'sources' });
        more(subject.index);
      }
    };
    const all = subjects();
    const box = searchBox('search-lineage', 'A table or a project', all, show);
    node.append(el('div', { class: 'tools' }, box.node), title);
    const graph = chart(node, 'chart-lineage', 'Who reads a table, or what a project reads', option);
    const drawn = graph.draw;
    let listens = false;
    graph.draw = () => {
      drawn();
      if (!listens) {
        listens = true;
        graph.instance.on('click', (e) => {
          if (e.dataType !== 'node') return;
          const { kind, index, name } = e.data;
          box.input.value = name;
          show({ kind, index, name });
        });
      }
    };
    node.append(place);
    // The table that most projects read comes first.
    if (data.tables.length) {
      const first = readers.reduce((best, list, i) => (list.length > readers[best].length ? i : best), 0);
      box.input.value = data.tables[first].key;
      show(all[first]);
    }
  };

  const runs = () => {
    const node = section('runs', 'Runs', 'By the day (UTC) on which they started.');
    const { days } = data;
    const pair = el('div', { class: 'pair' }, el('div'), el('div'));
    node.append(pair);
    pair.children[0].append(el('h3', {}, 'Outcomes'));
    chart(pair.children[0], 'chart-outcomes', 'Runs per day, by outcome', () => ({
      ...axes(days.day, { zoom: true }),
      series: [['completed', 'good'], ['failed', 'bad']].map(([name, tint]) => ({ name, type: 'bar', stack: 'runs', data: days[name], itemStyle: { color: colour(tint) } })),
    }));
    pair.children[1].append(el('h3', {}, 'Durations, in seconds'));
    chart(pair.children[1], 'chart-durations', 'Duration of runs by day, in seconds', () => ({
      ...axes(days.day, { zoom: true }),
      series: [['mean', 'accent'], ['longest', 'medium']].map(([name, tint]) => ({ name, type: 'line', showSymbol: false, data: days[name], itemStyle: { color: colour(tint) }, lineStyle: { color: colour(tint) } })),
    }));
    const withSeries = data.series.map((s) => ({ kind: 'project', index: s.project, name: data.projects[s.project].title, more: data.projects[s.project].owner ?? '', series: s }))
      .map((s) => ({ ...s, text: (s.name + ' ' + s.more).toLowerCase() }));
    if (withSeries.length) {
      let chosen = withSeries[0];
      node.append(el('h3', {}, `One project over the last 90 days (the ${count(withSeries.length)} that ran longest)`));
      const box = searchBox('search-runs', 'A project', withSeries, (s) => { chosen = s; one.draw(); });
      box.input.value = chosen.name;
      node.append(el('div', { class: 'tools' }, box.node));
      const one = chart(node, 'chart-project', 'Mean duration of one project by day, in seconds', () => ({
        ...axes(chosen.series.day),
        series: [
          { name: 'mean seconds', type: 'line', data: chosen.series.mean, itemStyle: { color: colour('accent') }, lineStyle: { color: colour('accent') } },
          { name: 'failed runs', type: 'bar', data: chosen.series.failed, itemStyle: { color: colour('bad') } },
        ],
      }));
    }
    const stats = data.stats;
    const columns = [
      { name: 'Project', kind: 'wide', value: (s) => data.projects[s.project].title, show: (s) => projectLink(s.project) },
      { name: 'Owner', value: (s) => data.projects[s.project].owner },
      { name: 'Runs', kind: 'number', value: (s) => s.runs, show: (s) => count(s.runs) },
      { name: 'Success', kind: 'number', value: (s) => s.success, show: (s) => share(s.success) },
      { name: 'Median', kind: 'number', value: (s) => s.p50, show: (s) => seconds(s.p50) },
      { name: '95 %', kind: 'number', value: (s) => s.p95, show: (s) => seconds(s.p95) },
      { name: 'Longest', kind: 'number', value: (s) => s.longest, show: (s) => seconds(s.longest) },
      { name: 'Failed in a row', kind: 'number', value: (s) => s.streak, show: (s) => count(s.streak) },
      { name: 'Last run', kind: 'date', value: (s) => data.projects[s.project].last_run },
    ];
    node.append(el('h3', {}, 'Slowest'));
    table(node, 'table-slowest', columns, stats, { label: 'slowest projects', sort: 5, page: 10 });
    node.append(el('h3', {}, 'Flakiest (five runs or more)'));
    table(node, 'table-flakiest', columns, stats.filter((s) => s.runs >= 5 && s.success !== null), { label: 'flakiest projects', sort: 3, down: false, page: 10 });
  };

  const usage = () => {
    const node = section('usage', 'Connections and tables', 'How connections and tables are used.');
    const pair = el('div', { class: 'pair' }, el('div'), el('div'));
    node.append(pair);
    const connections = [...data.connections].sort((a, b) => b.projects - a.projects).slice(0, 12);
    pair.children[0].append(el('h3', {}, 'Projects by connection'));
    chart(pair.children[0], 'chart-connections', 'Projects by connection', () => sideways(connections.map((c) => c.name), connections.map((c) => c.projects), 'projects'));
    const tables = [...data.tables].sort((a, b) => b.projects - a.projects).slice(0, 12);
    pair.children[1].append(el('h3', {}, 'Projects by table'));
    chart(pair.children[1], 'chart-tables', 'Projects by table', () => sideways(tables.map((t) => t.key), tables.map((t) => t.projects), 'projects'));
    table(node, 'table-connections', [
      { name: 'Connection', value: (c) => c.name },
      { name: 'Type', value: (c) => c.type },
      { name: 'Projects', kind: 'number', value: (c) => c.projects, show: (c) => count(c.projects) },
      { name: 'Tables', kind: 'number', value: (c) => c.tables, show: (c) => count(c.tables) },
      { name: 'SQL cells', kind: 'number', value: (c) => c.cells, show: (c) => count(c.cells) },
      { name: 'Runs in 30 days', kind: 'number', value: (c) => c.runs, show: (c) => count(c.runs) },
      { name: 'Last run', kind: 'date', value: (c) => day(c.last_run) },
    ], data.connections, { label: 'connections', sort: 2, page: 10 });
    table(node, 'table-tables', [
      { name: 'Table', kind: 'wide', value: (t) => t.key },
      { name: 'Connection', value: (t) => data.connections[t.connection]?.name },
      { name: 'Projects', kind: 'number', value: (t) => t.projects, show: (t) => count(t.projects) },
      { name: 'Columns', kind: 'number', value: (t) => t.columns, show: (t) => count(t.columns) },
      { name: 'App views in 30 days', kind: 'number', value: (t) => t.views, show: (t) => count(t.views) },
      { name: 'Runs in 30 days', kind: 'number', value: (t) => t.runs, show: (t) => count(t.runs) },
    ], data.tables, { label: 'tables', sort: 2, page: 10 });
  };

  const cost = () => {
    if (!data.costs) return;
    const { since, until, currency, projects } = data.costs;
    const node = section('cost', 'Cost', `Usage of projects' queries from ${day(since)} to ${day(until)}, according to the warehouses' query histories.`);
    const measures = [['cost', 'Cost' + (currency ? ` (${currency})` : '')], ['credits', 'Credits'], ['hours', 'Hours']];
    const [key, name] = measures.find(([of]) => projects.some((p) => p[of])) ?? measures[2];
    const round = (n) => (n === null || n === undefined ? null : Math.round(n * 100) / 100);
    const most = projects.slice(0, 12);
    node.append(el('h3', {}, `${name} by project`));
    chart(node, 'chart-cost', `${name} by project`, () => sideways(most.map((p) => data.projects[p.project].title), most.map((p) => round(p[key])), name.toLowerCase()));
    table(node, 'table-cost', [
      { name: 'Project', kind: 'wide', value: (p) => data.projects[p.project].title, show: (p) => projectLink(p.project) },
      { name: 'Queries', kind: 'number', value: (p) => p.queries, show: (p) => count(p.queries) },
      { name: 'Failed', kind: 'number', value: (p) => p.failures, show: (p) => count(p.failures) },
      { name: 'Hours', kind: 'number', value: (p) => round(p.hours) },
      { name: 'Scheduled hours', kind: 'number', value: (p) => round(p.scheduled_hours) },
      { name: 'Credits', kind: 'number', value: (p) => round(p.credits) },
      ...(currency ? [{ name: `Cost (${currency})`, kind: 'number', value: (p) => round(p.cost) }] : []),
      { name: 'Views in 30 days', kind: 'number', value: (p) => data.projects[p.project].views, show: (p) => count(data.projects[p.project].views) },
    ], projects, { label: 'costs', page: 10 });
  };

  const people = () => {
    const node = section('people', 'People and access', 'Who owns what, and who can open it.');
    const pair = el('div', { class: 'pair' }, el('div'), el('div'));
    node.append(pair);
    const roles = Object.entries(data.roles);
    pair.children[0].append(el('h3', {}, 'People by role'));
    chart(pair.children[0], 'chart-roles', 'People by role', () => sideways(roles.map(([name]) => name), roles.map(([, n]) => n), 'people'));
    const access = Object.entries(data.access);
    pair.children[1].append(el('h3', {}, 'Live projects by who can open them'));
    chart(pair.children[1], 'chart-access', 'Live projects by who can open them', () => sideways(access.map(([name]) => name), access.map(([, n]) => n), 'projects'));
    table(node, 'table-people', [
      { name: 'Person', value: (p) => p.name || p.email },
      { name: 'Email', value: (p) => p.email },
      { name: 'Role', value: (p) => (p.active ? p.role : data.users_known ? 'left the workspace' : 'unknown: users were not read') },
      { name: 'Last login', kind: 'date', value: (p) => day(p.last_login) },
      { name: 'Owns', kind: 'number', value: (p) => p.owned, show: (p) => count(p.owned) },
      { name: 'Published', kind: 'number', value: (p) => p.published, show: (p) => count(p.published) },
      { name: 'App views in 30 days', kind: 'number', value: (p) => p.views, show: (p) => count(p.views) },
      { name: 'Runs in 30 days', kind: 'number', value: (p) => p.runs, show: (p) => count(p.runs) },
    ], data.people, { label: 'people', sort: 4, page: 10 });
  };

  const notCovered = () => {
    const gaps = data.not_covered;
    const node = section('not-covered', 'What this report does not cover', gaps.complete
      ? 'The snapshot is complete: everything that the token may read was read.'
      : 'The snapshot is incomplete: what is listed here could not be read, or is older than the snapshot.');
    const list = (title, id, lines, none) => {
      node.append(el('h3', {}, title));
      node.append(lines.length ? el('ul', { id }, ...lines.map((line) => el('li', {}, line))) : el('p', {}, none));
    };
    // Another user may see other projects: whatever this one can't see isn't counted, listed or judged.
    list('Whose view this is', 'acting-as', [
      `Read as: ${gaps.acting_as}. Anything this user can't see is not on this page.`,
      ...gaps.seen_by.map(([name, who]) => `${name}: some rows were last seen by ${who}`),
    ], '');
    list('Not read, or only partly', 'gaps', [
      ...gaps.tables.map(([table, why]) => `${table}: ${why}`),
      ...gaps.operations.map(([name, what]) => `${name}: ${what}`),
    ], 'Nothing.');
    list('Rules not evaluated, or only partly', 'not-evaluated', gaps.rules.map(([rule, why]) => `${rule}: ${why}`), 'None.');
    node.append(el('h3', {}, `Accepted findings (${count(gaps.excepted_count)})`));
    if (gaps.excepted.length) {
      table(node, 'table-excepted', [
        { name: 'Severity', value: ([s]) => s, show: ([s]) => el('span', { class: 'severity ' + s }, s) },
        { name: 'Rule', value: ([, rule]) => rule },
        { name: 'What', kind: 'wide', value: ([, , what]) => what },
        { name: 'Reason', kind: 'wide', value: ([, , , reason]) => reason },
        { name: 'Until', kind: 'date', value: ([, , , , until]) => until },
      ], gaps.excepted, { label: 'accepted findings', page: 10 });
    } else node.append(el('p', {}, 'None.'));
    list('Exceptions to review', 'notices', gaps.notices.map((n) => `${n.kind}: ${n.exception}: ${n.what}`), 'None.');
    list('Omitted from this page', 'left-out', gaps.left_out, 'Nothing.');
  };

  about();
  headline();
  findings();
  lineage();
  runs();
  usage();
  cost();
  people();
  notCovered();

  // On paper everything is drawn, as large as the paper.
  addEventListener('beforeprint', () => charts.forEach((entry) => entry.draw()));
  const repaint = () => charts.forEach((entry) => entry.instance && entry.draw());
  document.getElementById('theme').addEventListener('click', () => {
    const isDark = colour('ground') === '#14161c';
    document.documentElement.setAttribute('data-theme', isDark ? 'light' : 'dark');
    repaint();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);
  document.documentElement.setAttribute('data-ready', '');
})();
