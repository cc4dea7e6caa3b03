//! Our own Markdown as HTML: headings, paragraphs, lists, tables, fences; within a line code, bold and links. What the pages of docs/
//! use, and no more.

/// A whole page.
pub fn page(text: &str) -> String {
    let title = text.lines().find_map(|l| l.strip_prefix("# ")).unwrap_or("Switchboard");
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n<p><a href=\"/docs/\">Documentation</a></p>\n",
        escape(title)
    );
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            out.push_str(if kind.is_empty() { "<pre>" } else { "<pre class=\"code\">" });
            for code in lines.by_ref().take_while(|l| !l.starts_with("```")) {
                out.push_str(&escape(code));
                out.push('\n');
            }
            out.push_str("</pre>\n");
        } else if line.starts_with('|') {
            out.push_str("<table>\n");
            row(&mut out, line, "th");
            while let Some(line) = lines.next_if(|l| l.starts_with('|')) {
                if !line.starts_with("|---") && !line.starts_with("| ---") {
                    row(&mut out, line, "td");
                }
            }
            out.push_str("</table>\n");
        } else if line.starts_with('#') {
            let level = line.bytes().take_while(|b| *b == b'#').count();
            let text = line.trim_start_matches('#').trim();
            out.push_str(&format!("<h{level} id=\"{}\">{}</h{level}>\n", slug(text), inline(text)));
        } else if let Some(first) = line.strip_prefix("- ") {
            let mut item = first.to_owned();
            out.push_str("<ul>\n");
            while let Some(line) = lines.next_if(|l| l.starts_with("- ") || l.starts_with("  ")) {
                match line.strip_prefix("- ") {
                    Some(next) => {
                        out.push_str(&format!("<li>{}\n", inline(&item)));
                        item = next.to_owned();
                    }
                    None => item = format!("{item} {}", line.trim()),
                }
            }
            out.push_str(&format!("<li>{}\n</ul>\n", inline(&item)));
        } else if !line.trim().is_empty() {
            let mut text = line.to_owned();
            while let Some(line) = lines
                .next_if(|l| !l.trim().is_empty() && !l.starts_with(['|', '#', '`']) && !l.starts_with("- "))
            {
                text = format!("{text}\n{line}");
            }
            out.push_str(&format!("<p>{}</p>\n", inline(&text)));
        }
    }
    out
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}\
code,pre{font:.9em ui-monospace,monospace;background:#8882;border-radius:3px}code{padding:0 .2em}\
pre{padding:.8em;overflow:auto}table{border-collapse:collapse}td,th{border:1px solid #8886;padding:.3em .6em;text-align:left;\
vertical-align:top}tr:target,tr:has(:target){background:#fc06}:root{color-scheme:light dark}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The anchor of a heading, as the forges make it.
fn slug(text: &str) -> String {
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn row(out: &mut String, line: &str, cell: &str) {
    out.push_str("<tr>");
    // A bar within a cell is written with a backslash.
    let line = line.trim().trim_start_matches('|').replace("\\|", "\u{1}");
    for text in line.strip_suffix('|').unwrap_or(&line).split('|') {
        out.push_str(&format!("<{cell}>{}</{cell}>", inline(&text.trim().replace('\u{1}', "|"))));
    }
    out.push_str("</tr>\n");
}

/// A line: code first, in which nothing else counts.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (n, part) in text.split('`').enumerate() {
        if n % 2 == 1 {
            out.push_str(&format!("<code>{}</code>", escape(part)));
            continue;
        }
        let mut bold = false;
        for part in part.split("**") {
            if std::mem::replace(&mut bold, true) {
                out.push('\u{2}');
            }
            out.push_str(&links(part));
        }
    }
    // Bold may hold code, so its ends are paired over the whole line.
    let mut open = false;
    while let Some(at) = out.find('\u{2}') {
        open = !open;
        out.replace_range(at..at + 1, if open { "<b>" } else { "</b>" });
    }
    out
}

/// Text without code: links and anchors.
fn links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    loop {
        let anchor = rest.find("<a id=\"");
        let link = rest.find("](").and_then(|middle| rest[..middle].rfind('[').map(|at| (at, middle)));
        match (anchor, link) {
            (Some(at), _) if link.is_none_or(|(l, _)| at < l) => {
                let Some(len) = rest[at..].find("</a>") else { break };
                out.push_str(&escape(&rest[..at]));
                out.push_str(&rest[at..at + len + 4]);
                rest = &rest[at + len + 4..];
            }
            (_, Some((at, middle))) => {
                let Some(len) = rest[middle..].find(')') else { break };
                let target = &rest[middle + 2..middle + len];
                // Pages link to each other as files; here they are served without the ending, and a folder's own page as the folder.
                let target = if target.contains("://") {
                    target.to_owned()
                } else {
                    target.replace("README.md", "./").replace(".md", "")
                };
                out.push_str(&escape(&rest[..at]));
                out.push_str(&format!(
                    "<a href=\"{}\">{}</a>",
                    escape(&target),
                    escape(&rest[at + 1..middle])
                ));
                rest = &rest[middle + len + 1..];
            }
            _ => break,
        }
    }
    out + &escape(rest)
}
