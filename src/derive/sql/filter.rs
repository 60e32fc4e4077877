//! Jinja in SQL cells: what a template would fill in becomes a name that no table or column has.

/// Beginning of the names that stand for placeholders.
pub(super) const MARK: &str = "hexport_jinja_";

/// Whether a name is one that a template fills in, in whole or in part.
pub fn is_placeholder(name: &str) -> bool {
    // Names are folded before they are looked at.
    name.len() >= MARK.len() && name.to_ascii_lowercase().contains(MARK)
}

/// Which branches of `{% if %}` are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branches {
    /// All of them: every table that any of them reads counts.
    All,
    /// The first: where all of them together are not SQL.
    First,
}

/// SQL in which each `{{ expression }}` is a name, and tags and comments are gone. Linear in the text's size.
pub fn without_jinja(source: &str, branches: Branches) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut placeholders = 0;
    // For each `{% if %}` that is open: whether the branch that is read is dropped.
    let mut dropped: Vec<bool> = Vec::new();
    while let Some(at) = rest.find('{') {
        let keep = !dropped.contains(&true);
        let (before, from) = rest.split_at(at);
        if keep {
            out.push_str(before);
        }
        let end = match from.as_bytes().get(1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => "#}",
            _ => {
                if keep {
                    out.push('{');
                }
                rest = &from[1..];
                continue;
            }
        };
        let Some(length) = from[2..].find(end) else {
            // Not closed: what follows is text.
            if keep {
                out.push_str(from);
            }
            return out;
        };
        let inside = from[2..2 + length].trim_matches(['-', '+']).trim();
        rest = &from[2 + length + 2..];
        match end {
            "}}" if keep => {
                out.push_str(MARK);
                out.push_str(&placeholders.to_string());
                placeholders += 1;
            }
            "%}" => {
                let word = inside.split_whitespace().next().unwrap_or("");
                match word {
                    "if" => dropped.push(false),
                    "elif" | "else" if branches == Branches::First => {
                        if let Some(last) = dropped.last_mut() {
                            *last = true;
                        }
                    }
                    "endif" => drop(dropped.pop()),
                    _ => {}
                }
                out.push(' ');
            }
            _ => out.push(' '),
        }
    }
    if !dropped.contains(&true) {
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_become_names_and_tags_go() {
        let sql = "select * from {{ t }} where a = '{{b}}%' {# note #}{% if x %}and c > {{ d | int }}{% else %}and e{% endif %} -- {";
        assert_eq!(
            without_jinja(sql, Branches::All),
            "select * from hexport_jinja_0 where a = 'hexport_jinja_1%'   and c > hexport_jinja_2 and e  -- {"
        );
        assert!(without_jinja(sql, Branches::First).contains("and c > hexport_jinja_2   -- {"));
        assert!(
            is_placeholder("HEXPORT_JINJA_2")
                && is_placeholder("x_hexport_jinja_0")
                && !is_placeholder("orders")
        );
    }

    #[test]
    fn a_template_that_is_not_closed_is_text() {
        assert_eq!(without_jinja("select '{{ x' from t", Branches::All), "select '{{ x' from t");
        assert_eq!(without_jinja("{% if x %}a", Branches::First), " a");
        assert_eq!(without_jinja("{% endif %}{% else %}é{", Branches::First), "  é{");
    }
}
