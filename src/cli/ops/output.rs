//! Forms of answers: a table for people, JSON, NDJSON, CSV and YAML for programs.

use std::io::Write;

use serde_json::{Map, Value};

use super::super::exit::{Code, Failure};
use super::super::{out, render};

/// Flags of everything that prints an answer.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = Form::Table)]
    output: Form,
    /// Fields to show, separated by commas; dots reach into objects: id,owner.email
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    fields: Vec<String>,
    /// Print a list as one object with --output json or yaml: the items under their own name (projects, runs,
    /// tables, ...), total (how many items this output has), and traceId where the API gives one
    #[arg(long)]
    envelope: bool,
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// For people.
    Table,
    /// One JSON document, with the API's field names.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// CSV; nested values as JSON.
    Csv,
    /// YAML.
    Yaml,
}

impl OutputArgs {
    /// Whether items are printed as they come.
    pub fn streams(&self) -> bool {
        self.output == Form::Ndjson
    }

    /// Whether a list is printed as one object.
    ///
    /// # Errors
    /// If the form has no place for it.
    pub fn wraps(&self) -> Result<bool, Failure> {
        match (self.envelope, self.output) {
            (true, Form::Table | Form::Csv | Form::Ndjson) => {
                Err(Failure::new(Code::Usage, "--envelope goes with --output json or yaml")
                    .next("Add --output json, or leave --envelope out."))
            }
            (wraps, _) => Ok(wraps),
        }
    }

    /// Prints a list as one object.
    ///
    /// # Errors
    /// If it can't be printed.
    pub fn print_wrapped(&self, name: &str, items: &[Value], trace_id: &Value) -> Result<(), Failure> {
        let chosen: Vec<Value> = items.iter().map(|item| self.chosen(item)).collect();
        self.print_document(&serde_json::json!({name: chosen, "total": items.len(), "traceId": trace_id}))
    }

    /// Prints one item on a line of its own.
    ///
    /// # Errors
    /// If it can't be printed.
    pub fn print_line(&self, item: &Value) -> Result<(), Failure> {
        write_out(&format!("{}\n", self.chosen(item)))
    }

    /// Prints a list.
    ///
    /// # Errors
    /// If it can't be printed.
    pub fn print_all(&self, items: &[Value], columns: &[&str]) -> Result<(), Failure> {
        match self.output {
            Form::Json | Form::Yaml => {
                self.print_document(&items.iter().map(|item| self.chosen(item)).collect())
            }
            Form::Ndjson => items.iter().try_for_each(|item| self.print_line(item)),
            Form::Csv => self.print_csv(items, columns),
            Form::Table => {
                let columns = self.columns(columns);
                let heads: Vec<&str> = columns.iter().map(String::as_str).collect();
                let mut table = render::table(&heads, &[]);
                for item in items {
                    table.add_row(columns.iter().map(|column| text(at(item, column))));
                }
                write_out(&format!("{table}\n"))
            }
        }
    }

    /// Prints one answer.
    ///
    /// # Errors
    /// If it can't be printed.
    pub fn print_one(&self, answer: &Value) -> Result<(), Failure> {
        let chosen = self.chosen(answer);
        match self.output {
            Form::Json | Form::Yaml => self.print_document(&chosen),
            Form::Ndjson => self.print_line(answer),
            Form::Csv => {
                let keys: Vec<String> = chosen.as_object().into_iter().flat_map(Map::keys).cloned().collect();
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                self.print_csv(std::slice::from_ref(answer), &keys)
            }
            Form::Table => {
                let mut flat = Vec::new();
                flatten("", &chosen, &mut flat);
                let width = flat.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
                let lines = flat.iter().map(|(name, value)| {
                    format!("{:width$}  {}\n", out::one_line(name), out::one_line(value))
                });
                write_out(&lines.collect::<String>())
            }
        }
    }

    fn print_document(&self, value: &Value) -> Result<(), Failure> {
        let failed = |e: String| Failure::new(Code::Nothing, format!("the answer can't be written: {e}"));
        let text = match self.output {
            Form::Yaml => serde_yaml_ng::to_string(value).map_err(|e| failed(e.to_string()))?,
            _ => serde_json::to_string_pretty(value).map_err(|e| failed(e.to_string()))? + "\n",
        };
        write_out(&text)
    }

    fn print_csv(&self, items: &[Value], columns: &[&str]) -> Result<(), Failure> {
        let columns = self.columns(columns);
        let mut csv = csv::Writer::from_writer(Vec::new());
        let failed = |e: csv::Error| Failure::new(Code::Nothing, format!("CSV can't be written: {e}"));
        csv.write_record(&columns).map_err(failed)?;
        for item in items {
            csv.write_record(columns.iter().map(|column| text(at(item, column)))).map_err(failed)?;
        }
        let bytes = csv
            .into_inner()
            .map_err(|e| Failure::new(Code::Nothing, format!("CSV can't be written: {e}")))?;
        write_out(&String::from_utf8_lossy(&bytes))
    }

    fn columns(&self, default: &[&str]) -> Vec<String> {
        match self.fields.is_empty() {
            true => default.iter().map(|c| (*c).to_owned()).collect(),
            false => self.fields.clone(),
        }
    }

    /// The fields that were asked for, under the names that they were asked for by; all, if none was.
    fn chosen(&self, item: &Value) -> Value {
        if self.fields.is_empty() {
            return item.clone();
        }
        let pick = |field: &String| (field.clone(), at(item, field).cloned().unwrap_or_default());
        Value::Object(self.fields.iter().map(pick).collect())
    }
}

/// Writes to standard output, unchanged.
fn write_out(text: &str) -> Result<(), Failure> {
    out::stream().write_all(text.as_bytes()).map_err(|e| Failure::new(Code::Destination, e.to_string()))
}

/// The value at a path whose names are joined by dots.
fn at<'a>(item: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(item, |value, name| match value {
        Value::Object(map) => map.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn flatten(name: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                let path = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&path, inner, out);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (i, inner) in items.iter().enumerate() {
                flatten(&format!("{name}.{i}"), inner, out);
            }
        }
        other => out.push((name.to_owned(), text(Some(other)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dots_reach_into_objects_and_lists() {
        let item = json!({"a": {"b": [{"c": 1}]}, "d": null});
        assert_eq!(at(&item, "a.b.0.c"), Some(&json!(1)));
        assert_eq!(text(at(&item, "d")), "");
        assert_eq!(at(&item, "a.x.y"), None);
        let mut flat = Vec::new();
        flatten("", &item, &mut flat);
        assert_eq!(flat, [("a.b.0.c".to_owned(), "1".to_owned()), ("d".to_owned(), String::new())]);
    }
}
