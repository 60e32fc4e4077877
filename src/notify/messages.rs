//! Messages in the forms that receivers take.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Brief, News, To};
use crate::audit::Finding;
use crate::snapshot::Manifest;

/// Findings per message: Teams accepts 28 KB, Slack 50 blocks of 3,000 characters and some 13,000 in all.
const PER_MESSAGE: usize = 10;
/// Maximum number of messages per notification; the last says how many findings are left out.
const MESSAGES: usize = 5;
/// Maximum length of a title or of evidence, in characters.
const LONGEST: usize = 200;

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The body of an HTTP request.
    Json(Value),
    /// An email.
    Mail {
        /// Subject.
        subject: String,
        /// Text.
        text: String,
    },
}

/// A part of a notification, before it is formatted.
struct Part<'a> {
    title: String,
    /// Lines outside any list.
    lines: Vec<String>,
    /// New findings by owner.
    new: Vec<(&'a str, Vec<&'a Finding>)>,
    resolved: &'a [Brief],
}

/// The messages for one kind of receiver.
pub(super) fn of(to: To, news: &News<'_>, manifest: &Manifest) -> Vec<Message> {
    if to == To::Webhook {
        return vec![webhook(news, manifest)];
    }
    parts(news)
        .iter()
        .map(|part| match to {
            To::Slack => Message::Json(slack(part)),
            To::Teams => Message::Json(teams(part)),
            To::Email | To::Webhook => mail(part),
        })
        .collect()
}

fn counted(counts: &BTreeMap<&'static str, usize>) -> String {
    let order = ["high", "medium", "low", "info"];
    let each: Vec<String> =
        order.iter().filter_map(|severity| Some(format!("{} {severity}", counts.get(severity)?))).collect();
    if each.is_empty() { "none".into() } else { each.join(", ") }
}

fn parts<'a>(news: &'a News<'a>) -> Vec<Part<'a>> {
    let mut lines = vec![format!("Open: {}", counted(&news.open))];
    if !news.not_evaluated.is_empty() {
        lines.push(format!("Not evaluated, for lack of evidence: {}", news.not_evaluated.join(", ")));
    }
    if news.is_first {
        // One summary: to list everything in the first message would be a flood.
        let mut by_rule: BTreeMap<&str, usize> = BTreeMap::new();
        for finding in &news.new {
            *by_rule.entry(&finding.rule).or_default() += 1;
        }
        let title = format!("Hex audit of {}: {} open findings", news.snapshot_id, news.new.len());
        lines.extend(by_rule.into_iter().map(|(rule, n)| format!("{rule}: {n}")));
        lines.push("From now on, messages name only new and resolved findings.".into());
        return vec![Part { title, lines, new: Vec::new(), resolved: &[] }];
    }
    let title = format!(
        "Hex audit of {}: {} new, {} resolved",
        news.snapshot_id,
        news.new.len(),
        news.resolved.len()
    );
    let mut chunks: Vec<&[&Finding]> = news.new.chunks(PER_MESSAGE).take(MESSAGES).collect();
    if chunks.is_empty() {
        chunks.push(&[]);
    }
    let told: usize = chunks.iter().map(|chunk| chunk.len()).sum();
    let last = chunks.len() - 1;
    let part = |(i, chunk): (usize, &&'a [&'a Finding])| {
        let mut by_owner: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
        for finding in chunk.iter() {
            by_owner.entry(finding.owner.as_deref().unwrap_or("nobody")).or_default().push(finding);
        }
        let mut lines = if i == 0 { lines.clone() } else { Vec::new() };
        if i == last && news.new.len() > told {
            lines.push(format!("and {} more: hexport audit shows them all", news.new.len() - told));
        }
        Part {
            title: if i == 0 { title.clone() } else { format!("{title} ({} of {})", i + 1, last + 1) },
            lines,
            new: by_owner.into_iter().collect(),
            resolved: if i == last { &news.resolved } else { &[] },
        }
    };
    chunks.iter().enumerate().map(part).collect()
}

/// One line, not too long.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// Resolved findings in lines, as many as fit in a message.
fn resolved(part: &Part<'_>) -> Vec<String> {
    let mut lines: Vec<String> = part
        .resolved
        .iter()
        .take(PER_MESSAGE)
        .map(|brief| format!("{}: {} ({})", brief.rule, short(&brief.entity), brief.severity.name()))
        .collect();
    if part.resolved.len() > PER_MESSAGE {
        lines.push(format!("and {} more", part.resolved.len() - PER_MESSAGE));
    }
    lines
}

fn slack(part: &Part<'_>) -> Value {
    // These three are all that Slack wants escaped; without a `<` nobody is mentioned.
    let safe = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let section = |text: String| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
    let title: String = part.title.chars().take(150).collect();
    let mut blocks = vec![json!({"type": "header", "text": {"type": "plain_text", "text": title}})];
    if !part.lines.is_empty() {
        blocks.push(section(part.lines.iter().map(|line| safe(line)).collect::<Vec<_>>().join("\n")));
    }
    for (owner, findings) in &part.new {
        let lines = findings.iter().map(|f| {
            let name = safe(&short(&f.entity)).replace('|', "¦");
            let name = f.url.as_ref().map_or(name.clone(), |url| format!("<{url}|{name}>"));
            format!("• *{}* {}: {name}: {}", f.severity.name(), f.rule, safe(&short(&f.evidence)))
        });
        let text = format!("*{}*\n{}", safe(owner), lines.collect::<Vec<_>>().join("\n"));
        blocks.push(section(text.chars().take(3000).collect()));
    }
    let gone = resolved(part);
    if !gone.is_empty() {
        let lines: Vec<String> = gone.iter().map(|line| format!("• {}", safe(line))).collect();
        blocks.push(section(format!("*Resolved*\n{}", lines.join("\n"))));
    }
    json!({"text": safe(&part.title), "blocks": blocks})
}

fn teams(part: &Part<'_>) -> Value {
    let block = |text: String, more: Value| {
        let mut block = json!({"type": "TextBlock", "text": text, "wrap": true});
        for (name, value) in more.as_object().into_iter().flatten() {
            block[name] = value.clone();
        }
        block
    };
    // A card's text is Markdown.
    let safe = |text: &str| -> String {
        let marks = |c: char| "\\`*_[]()#|!~<>".contains(c);
        text.chars().flat_map(|c| marks(c).then_some('\\').into_iter().chain([c])).collect()
    };
    let mut body = vec![block(safe(&part.title), json!({"size": "Large", "weight": "Bolder"}))];
    body.extend(part.lines.iter().map(|line| block(safe(line), json!({}))));
    for (owner, findings) in &part.new {
        body.push(block(safe(owner), json!({"weight": "Bolder", "separator": true})));
        for f in findings {
            let name = safe(&short(&f.entity));
            let name = f.url.as_ref().map_or(name.clone(), |url| format!("[{name}]({url})"));
            body.push(block(
                format!(
                    "- **{}** {}: {name}: {}",
                    f.severity.name(),
                    safe(&f.rule),
                    safe(&short(&f.evidence))
                ),
                json!({}),
            ));
        }
    }
    let gone = resolved(part);
    if !gone.is_empty() {
        body.push(block("Resolved".into(), json!({"weight": "Bolder", "separator": true})));
        body.extend(gone.iter().map(|line| block(format!("- {}", safe(line)), json!({}))));
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "body": body,
            },
        }],
    })
}

fn webhook(news: &News<'_>, manifest: &Manifest) -> Message {
    Message::Json(json!({
        "version": 1,
        "snapshot_id": news.snapshot_id,
        "snapshot_at": manifest.snapshot_at,
        "workspace": manifest.workspace.org_id.as_ref().unwrap_or(&manifest.workspace.base_url),
        "first": news.is_first,
        "open": news.open,
        "new": news.new,
        "resolved": news.resolved,
        "not_evaluated": news.not_evaluated,
    }))
}

fn mail(part: &Part<'_>) -> Message {
    let mut text = part.lines.join("\n");
    for (owner, findings) in &part.new {
        text += &format!("\n\n{owner}\n");
        for f in findings {
            text += &format!(
                "- {} {}: {}: {}\n  {}\n",
                f.severity.name(),
                f.rule,
                short(&f.entity),
                short(&f.evidence),
                f.action
            );
            text.extend(f.url.iter().map(|url| format!("  {url}\n")));
        }
    }
    let gone = resolved(part);
    if !gone.is_empty() {
        text += &format!("\n\nResolved\n- {}\n", gone.join("\n- "));
    }
    Message::Mail { subject: part.title.clone(), text }
}

impl Message {
    /// The message as a dry run prints it.
    pub fn show(&self) -> String {
        match self {
            Message::Json(body) => serde_json::to_string_pretty(body).unwrap_or_default(),
            Message::Mail { subject, text } => format!("Subject: {subject}\n\n{text}"),
        }
    }
}
