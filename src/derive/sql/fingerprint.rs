//! Fingerprints of queries: the same for queries that differ in literals, comments and layout alone.

use sha2::{Digest, Sha256};

use super::names::Warehouse;

/// A query's fingerprint, 16 hexadecimal digits. It doesn't give its literals away.
pub fn of(sql: &str, warehouse: Warehouse) -> String {
    let digest = Sha256::digest(shape(sql, warehouse));
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The same for texts that differ in nothing but the space around them, 16 hexadecimal digits.
pub fn of_text(sql: &str) -> String {
    Sha256::digest(sql.trim()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A query with `?` instead of each literal and list of literals, words folded as the warehouse folds them, and one
/// space where there was white space or a comment.
fn shape(sql: &str, warehouse: Warehouse) -> String {
    let doubles_quote_text =
        matches!(warehouse, Warehouse::BigQuery | Warehouse::Databricks | Warehouse::MySql);
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            _ if c.is_whitespace() => gap(&mut out, after.trim_start()),
            '-' if after.starts_with('-') => {
                gap(&mut out, after.split_once('\n').map_or("", |(_, rest)| rest))
            }
            '/' if after.starts_with('*') => {
                gap(&mut out, after.split_once("*/").map_or("", |(_, rest)| rest))
            }
            '\'' => literal(&mut out, quoted(after, '\'')),
            '"' if doubles_quote_text => literal(&mut out, quoted(after, '"')),
            '"' | '`' => {
                let left = quoted(after, c);
                out.push_str(&rest[..rest.len() - left.len()]);
                left
            }
            '$' if dollar(rest).is_some() => literal(&mut out, dollar(rest).unwrap_or("")),
            _ if c.is_ascii_digit() => literal(&mut out, number(after)),
            _ if is_word(c) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                out.push_str(&warehouse.fold(&rest[..end], false));
                &rest[end..]
            }
            _ => {
                out.push(c);
                after
            }
        };
    }
    let trimmed = out.trim_end_matches([' ', ';']).len();
    out.truncate(trimmed);
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '@')
}

/// A gap between words: layout around signs doesn't count.
fn gap<'a>(out: &mut String, rest: &'a str) -> &'a str {
    let joins = out.ends_with(is_word) || out.ends_with(['?', '"', '`']);
    if joins && rest.starts_with(|c| is_word(c) || matches!(c, '\'' | '"' | '`')) {
        out.push(' ');
    }
    rest
}

/// A literal; in a list of literals one stands for all.
fn literal<'a>(out: &mut String, rest: &'a str) -> &'a str {
    if out.ends_with("?,") {
        out.pop();
    } else {
        out.push('?');
    }
    rest
}

/// The rest after a quoted part; doubled quotes and backslashes escape.
fn quoted(text: &str, quote: char) -> &str {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            let rest = &text[at + quote.len_utf8()..];
            match rest.strip_prefix(quote) {
                Some(_) => drop(chars.next()),
                None => return rest,
            }
        }
    }
    ""
}

/// The rest after a text in dollar quotes.
fn dollar(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 2;
    let tag = &text[..end];
    let is_tag = tag[1..end - 1].chars().all(|c| c.is_alphanumeric() || c == '_');
    is_tag.then(|| text[end..].split_once(tag).map_or("", |(_, rest)| rest))
}

/// The rest after a number.
fn number(text: &str) -> &str {
    let mut last = ' ';
    let is_part = |c: char| {
        let is_sign = matches!(c, '+' | '-') && matches!(last, 'e' | 'E');
        last = c;
        c.is_ascii_alphanumeric() || c == '.' || is_sign
    };
    text.trim_start_matches(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_comments_and_layout_make_no_difference() {
        let same = [
            "SELECT a, b FROM t WHERE x = 'a''b' AND y IN (1, 2, 3) LIMIT 10",
            "select a,b\nfrom  t -- note\nwhere X=\'c\' /* 'd */ and y in ( 4 )  limit 1e-3 ;\n",
            "Select a , b From t Where x = $$it's$$ And y In (4,5) Limit 0xff",
        ];
        for sql in same {
            assert_eq!(
                of(sql, Warehouse::Postgres),
                of(same[0], Warehouse::Postgres),
                "{}",
                shape(sql, Warehouse::Postgres)
            );
        }
        for other in [
            "SELECT a, b FROM u WHERE x = 'a' AND y IN (1) LIMIT 10",
            "SELECT a, b FROM t WHERE x = 'a' AND y IN (1)",
            "SELECT a, b FROM \"T\" WHERE x = 'a' AND y IN (1) LIMIT 10",
        ] {
            assert_ne!(of(other, Warehouse::Postgres), of(same[0], Warehouse::Postgres), "{other}");
        }
    }

    #[test]
    fn shapes_hold_no_literal() {
        for (sql, warehouse, expected) in [
            ("SELECT \"secret\" FROM `p.d.t`", Warehouse::BigQuery, "SELECT ? FROM `p.d.t`"),
            ("SELECT \"col\" FROM t2", Warehouse::Snowflake, "SELECT \"col\" FROM T2"),
            ("SELECT 'open", Warehouse::Snowflake, "SELECT ?"),
            ("SELECT $1, -2.5E+10", Warehouse::Postgres, "select $1,-?"),
            ("", Warehouse::Other, ""),
        ] {
            assert_eq!(shape(sql, warehouse), expected);
        }
    }
}
