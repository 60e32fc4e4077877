//! Tables and figures for people.

use std::io::IsTerminal;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, presets};

use super::out::one_line;

/// A table without lines.
#[derive(Debug)]
pub struct Table(comfy_table::Table);

impl Table {
    /// Adds a row. Each cell is shown on lines of its own making: what would control the terminal is escaped.
    pub fn add_row<C: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.0.add_row(cells.into_iter().map(|cell| one_line(cell.as_ref())));
    }
}

impl Table {
    /// Keeps columns as wide as their content: what people copy, such as a rule's name, isn't broken apart. The
    /// other columns wrap.
    pub fn keep_whole(&mut self, columns: &[usize]) {
        for column in columns {
            if let Some(column) = self.0.column_mut(*column) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    }
}

impl std::fmt::Display for Table {
    /// Without the padding of the last column, which would wrap on a narrow terminal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.0.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Width that `COLUMNS` asks for, where standard output is no terminal that says its own.
fn asked_width() -> Option<u16> {
    let width = std::env::var("COLUMNS").ok()?.parse().ok()?;
    (width >= 20 && !std::io::stdout().is_terminal()).then_some(width)
}

/// A table; columns that `right` names are aligned to the right.
pub fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = comfy_table::Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    if let Some(width) = asked_width() {
        table.set_width(width);
    }
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Table(table)
}

/// A count with its thousands apart.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun: "no projects", "1 project", "1,234 projects".
pub fn counted(n: u64, noun: &str) -> String {
    let plural = match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    };
    match n {
        0 => format!("no {plural}"),
        1 => format!("1 {noun}"),
        n => format!("{} {plural}", count(n)),
    }
}

/// A size in bytes.
pub fn bytes(n: u64) -> String {
    indicatif::HumanBytes(n).to_string()
}

/// A time in seconds, as long as it is short, else in minutes or hours.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.1} s"),
        s if s < 5400.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        assert_eq!(counted(0, "damaged file"), "no damaged files");
        assert_eq!(counted(1, "query"), "1 query");
        assert_eq!(counted(2, "query"), "2 queries");
        assert_eq!(counted(1_000, "request"), "1,000 requests");
        assert_eq!(seconds(12.34), "12.3 s");
        assert_eq!(seconds(9000.0), "2.5 h");
    }
}
