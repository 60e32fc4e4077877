//! Renders the Jinja of SQL cells without the values that it was written for.
//!
//! Unknown values become names that no table has (see [`super::filter`]). Each condition is true in one rendering
//! and false in another, so that every branch shows; loops over what isn't known run twice. Time and memory are
//! bounded whatever the template does: by the engine's fuel, and by counting what values and output take.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectRepr, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};

use super::filter::{Branches, MARK, without_jinja};
use super::tags::{Rewritten, TEXT, VALUE, rewrite};

/// Most renderings of a template.
pub const RENDERINGS: usize = 64;
/// Most bytes that all renderings of a template have together.
pub const OUTPUT: usize = 4 << 20;
/// Most bytes that the values of a rendering take.
const VALUES: usize = 4 << 20;
/// Longest template that is rendered.
const TEMPLATE: usize = 1 << 20;
/// Steps that a rendering may take.
const FUEL: u64 = 20_000;
/// Conditions of which every combination is rendered.
const COMBINED: usize = 4;
/// Most items of a list that a loop goes through.
const ITEMS: usize = 1_000;
/// Deepest nesting of macros.
const RECURSION: usize = 60;
/// Stack that rendering takes at the most: values may be nested as deep as the template is long.
const STACK: usize = 64 << 20;

/// The SQL that a template can make.
#[derive(Debug)]
pub struct Rendered {
    /// Different texts.
    pub texts: Vec<String>,
    /// Whether they have all branches.
    pub is_whole: bool,
    /// Reason that the template could not be rendered as it is.
    pub error: Option<String>,
}

/// Renders a template. SQL without one is its own rendering.
pub fn render(source: &str) -> Rendered {
    if !["{{", "{%", "{#"].iter().any(|open| source.contains(open)) {
        return Rendered { texts: vec![source.to_owned()], is_whole: true, error: None };
    }
    stacker::maybe_grow(STACK / 2, STACK, || match render_here(source) {
        Ok(rendered) => rendered,
        Err(error) => {
            let texts = vec![without_jinja(source, Branches::First)];
            Rendered { texts, is_whole: false, error: Some(error) }
        }
    })
}

fn render_here(source: &str) -> Result<Rendered, String> {
    if source.len() > TEMPLATE {
        return Err(format!("it has {} bytes, and no more than {TEMPLATE} are rendered", source.len()));
    }
    // Marks of our own in the source would be taken for texts.
    let clean;
    let source = match source.contains(['\u{e000}', '\u{e001}', '\u{e002}', '\u{e003}']) {
        true => {
            clean = source.replace(['\u{e000}', '\u{e001}', '\u{e002}', '\u{e003}'], " ");
            &clean
        }
        false => source,
    };
    let rewritten = rewrite(source)?;
    let shared = Arc::new(Shared::default());
    let environment = environment(&shared);
    let template = environment.template_from_str(&rewritten.template).map_err(|e| e.to_string())?;
    let (choices, is_all) = choices(rewritten.conditions);
    let mut texts: Vec<String> = Vec::new();
    let (mut size, mut is_whole, mut error) = (0, is_all, rewritten.error.clone());
    let mut number = 0;
    // A subscript that isn't known takes another value in each rendering.
    while number < choices.len().max(shared.variants.load(Ordering::Relaxed)).min(RENDERINGS) {
        shared.start(number, choices[number % choices.len()].clone());
        number += 1;
        let rendered = template.render(Value::from_object(Everything)).map_err(|e| e.to_string());
        match rendered.and_then(|text| finish(&text, &rewritten, OUTPUT - size)) {
            Ok(text) if texts.contains(&text) => {}
            Ok(text) => {
                size += text.len();
                texts.push(text);
            }
            Err(why) => {
                is_whole = false;
                error.get_or_insert(why);
                if shared.is_spent() || size >= OUTPUT {
                    break;
                }
            }
        }
    }
    match (texts.is_empty(), error) {
        (true, error) => Err(error.unwrap_or_else(|| "it renders to nothing".into())),
        (false, error) => Ok(Rendered { texts, is_whole, error }),
    }
}

/// Which conditions are true in each rendering, and whether every branch is in one of them.
fn choices(conditions: usize) -> (Vec<Vec<bool>>, bool) {
    if conditions <= COMBINED {
        let all = (0..1_usize << conditions).rev();
        return (all.map(|bits| (0..conditions).map(|i| bits >> i & 1 == 1).collect()).collect(), true);
    }
    // All, none, and each one alone.
    let mut choices = vec![vec![true; conditions], vec![false; conditions]];
    choices
        .extend((0..conditions.min(RENDERINGS - 2)).map(|one| (0..conditions).map(|i| i == one).collect()));
    (choices, conditions <= RENDERINGS - 2)
}

/// Puts the texts back, and writes values as SQL has them.
fn finish(rendered: &str, rewritten: &Rewritten<'_>, limit: usize) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = rendered;
    while let Some(at) = rest.find([TEXT[0], VALUE[0]]) {
        out += &rest[..at];
        let mark = rest[at..].chars().next().unwrap_or(TEXT[0]);
        let inside = &rest[at + mark.len_utf8()..];
        let close = if mark == TEXT[0] { TEXT[1] } else { VALUE[1] };
        let Some(end) = inside.find(close) else {
            rest = inside;
            continue;
        };
        match mark == TEXT[0] {
            true => {
                let text = inside[..end].parse::<usize>().ok().and_then(|number| rewritten.texts.get(number));
                out += text.copied().unwrap_or(" ");
            }
            false => value(&mut out, &inside[..end]),
        }
        rest = &inside[end + close.len_utf8()..];
        if out.len() > limit {
            return Err(format!("its renderings have more than {OUTPUT} bytes"));
        }
    }
    out += rest;
    if out.len() > limit { Err(format!("its renderings have more than {OUTPUT} bytes")) } else { Ok(out) }
}

/// Writes a text that a template prints: Hex passes it as a value, but where it can only be a part of a name or a
/// name it is taken for one.
fn value(out: &mut String, text: &str) {
    let before = out.trim_end();
    let touches = before.len() == out.len()
        && out.ends_with(|c: char| {
            c.is_alphanumeric() || matches!(c, '_' | '.' | '\'' | '"' | '`' | '%' | '$')
        });
    let word = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    let is_compared = before.ends_with(['=', '<', '>'])
        || ["like", "ilike", "between", "in"].iter().any(|w| word.eq_ignore_ascii_case(w));
    let in_list = before.strip_suffix('(').is_some_and(|before| {
        let before = before.trim_end();
        before.len() > 2
            && before.is_char_boundary(before.len() - 3)
            && before[before.len() - 3..].eq_ignore_ascii_case(" in")
    });
    let is_name = !text.is_empty()
        && text.chars().all(|c| c.is_alphanumeric() || "_.$*-`\"".contains(c))
        && !text.starts_with(|c: char| c.is_numeric() || c == '-');
    let is_sql = text.contains(char::is_whitespace) || text.contains('(');
    if touches || (!is_compared && !in_list && (is_name || is_sql)) || text.parse::<f64>().is_ok() {
        out.push_str(text);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

/// State shared by the renderings of a template.
#[derive(Debug, Default)]
struct Shared {
    /// Which conditions are true.
    choice: Mutex<Vec<bool>>,
    /// Number of the rendering.
    number: AtomicUsize,
    /// Renderings that it takes to show all values of an unknown subscript.
    variants: AtomicUsize,
    /// Bytes that values took, of this rendering and of all.
    taken: AtomicUsize,
    taken_by_all: AtomicUsize,
    /// Names that were made.
    names: AtomicUsize,
}

impl Shared {
    fn start(&self, number: usize, choice: Vec<bool>) {
        *self.choice.lock().unwrap_or_else(PoisonError::into_inner) = choice;
        self.number.store(number, Ordering::Relaxed);
        self.taken.store(0, Ordering::Relaxed);
        self.names.store(0, Ordering::Relaxed);
    }

    /// Counts what a value takes.
    fn take(&self, bytes: usize) -> Result<(), Error> {
        self.taken_by_all.fetch_add(bytes, Ordering::Relaxed);
        if self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes > VALUES {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("its values take more than {VALUES} bytes"),
            ));
        }
        Ok(())
    }

    /// Whether all renderings together took as much as some that end.
    fn is_spent(&self) -> bool {
        self.taken_by_all.load(Ordering::Relaxed) > 4 * VALUES
    }

    fn name(&self) -> String {
        format!("{MARK}{}", self.names.fetch_add(1, Ordering::Relaxed))
    }
}

/// A value that isn't known, and gives more such in whatever is done with it.
#[derive(Debug)]
struct Unknown {
    /// Number of items in it, when it is looped over or taken apart.
    items: usize,
}

impl Object for Unknown {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(unknown())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items)
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn call(self: &Arc<Self>, _: &State<'_, '_>, _: &[Value]) -> Result<Value, Error> {
        Ok(unknown())
    }

    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, _: &str, _: &[Value]) -> Result<Value, Error> {
        Ok(unknown())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)
    }
}

fn unknown() -> Value {
    unknown_of(2)
}

fn unknown_of(items: usize) -> Value {
    Value::from_object(Unknown { items: items.min(ITEMS) })
}

fn is_unknown(value: &Value) -> bool {
    value.downcast_object_ref::<Unknown>().is_some() || value.is_undefined() || value.is_none()
}

/// The names that a template may use: all of them.
#[derive(Debug)]
struct Everything;

impl Object for Everything {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str() {
            Some(name) if name.starts_with("__") || matches!(name, "range" | "dict") => None,
            _ => Some(unknown()),
        }
    }
}

fn environment(shared: &Arc<Shared>) -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    let of = || shared.clone();
    let own = of();
    environment.set_formatter(move |out, _, value| print(out, value, &own));
    let own = of();
    environment.add_function("__take", move |number: usize| {
        own.choice.lock().unwrap_or_else(PoisonError::into_inner).get(number).copied().unwrap_or(true)
    });
    environment.add_function("__any", |_: Rest<Value>| unknown());
    environment.add_function("__in", |_: Value, _: Value| true);
    environment.add_function("__or", |a: Value, b: Value| if is_unknown(&a) || !a.is_true() { b } else { a });
    environment.add_function("__loop", |list: Value, arity: usize| items(&list, arity));
    environment.add_function("__unpack", |list: Value, arity: usize| match list.len() {
        Some(length) if length == arity => list,
        _ => unknown_of(arity),
    });
    let own = of();
    environment.add_function("__math", move |parts: Rest<Value>| math(&parts, &own));
    let own = of();
    environment.add_function("__item", move |of: Value, key: Value| item(&of, &key, &own));
    let own = of();
    environment.add_function("__filter", move |name: String, of: Value, rest: Rest<Value>| {
        let rest: Vec<Value> = rest.0.into_iter().filter(|value| !value.is_kwargs()).collect();
        filter(&name, &of, &rest, &own)
    });
    environment.add_function("range", |bounds: Rest<Value>| range(&bounds));
    environment.add_function("dict", |_: Rest<Value>| unknown());
    let own = of();
    environment.set_unknown_method_callback(move |_, of, name, rest| filter(name, of, rest, &own));
    environment
}

/// Numbers in a range, if its bounds are known and not far apart.
fn range(bounds: &[Value]) -> Value {
    let numbers: Option<Vec<i64>> = bounds.iter().map(Value::as_i64).collect();
    let (from, to, step) = match numbers.as_deref() {
        Some([to]) => (0, *to, 1),
        Some([from, to]) => (*from, *to, 1),
        Some([from, to, step]) if *step > 0 => (*from, *to, *step),
        _ => return unknown(),
    };
    (from..to).step_by(step as usize).take(ITEMS).collect::<Vec<i64>>().into()
}

/// Items of a loop.
fn items(list: &Value, arity: usize) -> Value {
    let two = || Value::from(vec![unknown_of(arity.max(2)), unknown_of(arity.max(2))]);
    if is_unknown(list) || !matches!(list.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        return two();
    }
    let Ok(all) = list.try_iter() else { return two() };
    let fits = |item: Value| match arity {
        1 => item,
        _ if item.kind() == ValueKind::Seq && item.len() == Some(arity) => item,
        _ => unknown_of(arity),
    };
    Value::from(all.take(ITEMS).map(fits).collect::<Vec<Value>>())
}

/// Operands with the operators between them.
fn math(parts: &[Value], shared: &Shared) -> Result<Value, Error> {
    let Some(first) = parts.first() else { return Ok(unknown()) };
    let mut sum = first.clone();
    for pair in parts[1..].chunks(2) {
        let [sign, operand] = pair else { break };
        sum = match sign.as_str() {
            Some("~") => joined(&sum, operand, shared)?,
            Some("+") if sum.as_str().is_some() && operand.as_str().is_some() => {
                joined(&sum, operand, shared)?
            }
            Some("+") if sum.kind() == ValueKind::Seq && operand.kind() == ValueKind::Seq => {
                let all: Vec<Value> = sum.try_iter()?.chain(operand.try_iter()?).take(ITEMS).collect();
                shared.take(all.len() * size_of::<Value>())?;
                all.into()
            }
            sign => match (sum.as_i64(), operand.as_i64()) {
                (Some(a), Some(b)) => {
                    number(sign.unwrap_or_default(), a, b).map_or_else(unknown, Value::from)
                }
                _ => unknown(),
            },
        };
    }
    Ok(sum)
}

fn number(sign: &str, a: i64, b: i64) -> Option<i64> {
    match sign {
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        "//" => a.checked_div(b),
        "%" => a.checked_rem(b),
        _ => None,
    }
}

/// Two values as one text.
fn joined(a: &Value, b: &Value, shared: &Shared) -> Result<Value, Error> {
    let mut text = String::new();
    write_value(&mut text, a, shared, 0)?;
    write_value(&mut text, b, shared, 0)?;
    Ok(text.into())
}

/// An item of a list or dictionary. If the key isn't known, another one in each rendering.
fn item(of: &Value, key: &Value, shared: &Shared) -> Value {
    if is_unknown(of) {
        return unknown();
    }
    if is_unknown(key) {
        let values: Vec<Value> = match of.kind() {
            ValueKind::Map => {
                of.try_iter().into_iter().flatten().take(ITEMS).filter_map(|k| of.get_item(&k).ok()).collect()
            }
            ValueKind::Seq => of.try_iter().into_iter().flatten().take(ITEMS).collect(),
            _ => Vec::new(),
        };
        shared.variants.fetch_max(values.len(), Ordering::Relaxed);
        let at = shared.number.load(Ordering::Relaxed) % values.len().max(1);
        return values.get(at).cloned().unwrap_or_else(unknown);
    }
    of.get_item(key).ok().filter(|value| !value.is_undefined()).unwrap_or_else(unknown)
}

/// Filters and methods: those that make text or lists of what is known, and for all others what they are given.
fn filter(name: &str, of: &Value, rest: &[Value], shared: &Shared) -> Result<Value, Error> {
    if is_unknown(of) {
        return Ok(match (name, rest.first()) {
            ("default" | "d", Some(given)) => given.clone(),
            _ => unknown(),
        });
    }
    let text = || -> Result<String, Error> {
        let mut text = String::new();
        write_value(&mut text, of, shared, 0)?;
        Ok(text)
    };
    let argument = |at: usize| rest.get(at).and_then(Value::as_str);
    Ok(match name {
        "sqlsafe" | "safe" => Value::from_safe_string(text()?),
        "array" | "inclause" => Value::from_safe_string(list(of, ", ", true, shared)?),
        "join" => match of.as_str().zip(argument(0)) {
            // `','.join(list)`: the method of a text.
            Some(_) => of.clone(),
            None if of.as_str().is_some() && !rest.is_empty() => {
                Value::from_safe_string(list(&rest[0], of.as_str().unwrap_or_default(), false, shared)?)
            }
            None => Value::from_safe_string(list(of, argument(0).unwrap_or_default(), false, shared)?),
        },
        "upper" | "lower" | "trim" | "strip" if of.as_str().is_some() => {
            let text = of.as_str().unwrap_or_default();
            shared.take(text.len())?;
            match name {
                "upper" => text.to_uppercase().into(),
                "lower" => text.to_lowercase().into(),
                _ => text.trim().to_owned().into(),
            }
        }
        "replace" => match (of.as_str(), argument(0), argument(1)) {
            (Some(text), Some(from), Some(to)) if !from.is_empty() => {
                let found = text.matches(from).count();
                shared.take(text.len() + found * to.len())?;
                text.replace(from, to).into()
            }
            _ => of.clone(),
        },
        "split" => match (of.as_str(), argument(0)) {
            (Some(text), Some(by)) if !by.is_empty() => {
                shared.take(text.len())?;
                text.split(by).take(ITEMS).map(Value::from).collect::<Vec<_>>().into()
            }
            _ => unknown(),
        },
        "first" => of.try_iter().ok().and_then(|mut all| all.next()).unwrap_or_else(unknown),
        "last" => of.try_iter().ok().and_then(|all| all.take(ITEMS).last()).unwrap_or_else(unknown),
        "length" | "count" | "len" => of.len().map_or_else(unknown, Value::from),
        "keys" | "list" if of.kind() == ValueKind::Map => {
            of.try_iter()?.take(ITEMS).collect::<Vec<_>>().into()
        }
        "values" | "items" | "dictsort" if of.kind() == ValueKind::Map => {
            let pairs = of.try_iter()?.take(ITEMS).map(|key| {
                let value = of.get_item(&key).unwrap_or_default();
                if name == "values" { value } else { Value::from(vec![key, value]) }
            });
            pairs.collect::<Vec<_>>().into()
        }
        "get" => item(of, rest.first().unwrap_or(&Value::UNDEFINED), shared),
        "int" | "float" | "format" | "tojson" | "round" | "abs" | "map" | "select" | "selectattr"
        | "groupby" => {
            if of.is_number() {
                of.clone()
            } else {
                unknown()
            }
        }
        _ => of.clone(),
    })
}

/// A list's items, each as it is or as a value of SQL.
fn list(of: &Value, between: &str, as_values: bool, shared: &Shared) -> Result<String, Error> {
    let mut out = String::new();
    if is_unknown(of) || of.as_str().is_some() {
        write_value(&mut out, of, shared, 0)?;
        return Ok(out);
    }
    for (i, item) in of.try_iter()?.take(ITEMS).enumerate() {
        if i > 0 {
            out += between;
            shared.take(between.len())?;
        }
        let quote = if as_values && item.as_str().is_some() { "'" } else { "" };
        out += quote;
        write_value(&mut out, &item, shared, 0)?;
        out += quote;
    }
    Ok(out)
}

/// Prints a value. A text that isn't marked as SQL is written by where it stands; see [`value`].
fn print(out: &mut Output<'_>, value: &Value, shared: &Shared) -> Result<(), Error> {
    let mut text = String::new();
    write_value(&mut text, value, shared, 0)?;
    let is_plain = value.as_str().is_some() && !value.is_safe() && !text.contains([TEXT[0], VALUE[0]]);
    let written = match is_plain && !text.is_empty() {
        true => out.write_str(&format!("{}{text}{}", VALUE[0], VALUE[1])),
        false => out.write_str(&text),
    };
    written.map_err(|_| Error::new(ErrorKind::WriteFailure, "the output"))
}

/// Writes a value, and counts what it takes.
fn write_value(out: &mut String, value: &Value, shared: &Shared, depth: usize) -> Result<(), Error> {
    if is_unknown(value) || depth > 8 {
        let name = shared.name();
        shared.take(name.len())?;
        *out += &name;
        return Ok(());
    }
    if let Some(text) = value.as_str() {
        shared.take(text.len())?;
        *out += text;
        return Ok(());
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (i, item) in value.try_iter()?.take(ITEMS).enumerate() {
                *out += if i > 0 { ", " } else { "" };
                shared.take(2)?;
                write_value(out, &item, shared, depth + 1)?;
            }
            out.push(']');
        }
        ValueKind::Number | ValueKind::Bool => {
            shared.take(8)?;
            *out += &value.to_string();
        }
        // Macros, dictionaries: nothing that SQL has.
        _ => *out += &shared.name(),
    }
    Ok(())
}
