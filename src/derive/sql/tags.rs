//! Rewrites a Jinja template so that it can be rendered without the values it was written for.
//!
//! - Text becomes a short mark, so that rendering moves little about; it is put back afterwards.
//! - Conditions are chosen by the caller: one that is written twice is one condition.
//! - Operators, filters and subscripts become calls of functions that know what to do with an unknown value, and
//!   that count what they make.

use std::collections::HashMap;

use super::lexer::{Token, lex, lex_spans};

/// Deepest nesting of an expression that is rewritten.
const DEPTH: usize = 40;
/// Most tags of a template that is rendered.
const TAGS: usize = 20_000;
/// Most ELIFs of a template that is rendered: each is nested in the one before it.
const BRANCHES: usize = 1_000;

/// Stands around the number of a text.
pub const TEXT: [char; 2] = ['\u{e000}', '\u{e001}'];
/// Stands around a value that was printed as it is.
pub const VALUE: [char; 2] = ['\u{e002}', '\u{e003}'];

/// A template that can be rendered with stand-in values.
#[derive(Debug, Default)]
pub struct Rewritten<'a> {
    /// The template.
    pub template: String,
    /// Texts that its marks stand for.
    pub texts: Vec<&'a str>,
    /// Number of conditions.
    pub conditions: usize,
    /// First part that isn't Jinja, or can't be rewritten.
    pub error: Option<String>,
}

/// A part of a template.
enum Part<'a> {
    Text(&'a str),
    Print(&'a str),
    Tag(&'a str),
}

/// The parts of a template. Linear in its size.
fn parts(source: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = source;
    let mut from = 0;
    while let Some(at) = rest[from..].find('{').map(|at| at + from) {
        let close = match rest.as_bytes().get(at + 1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => "#}",
            _ => {
                from = at + 1;
                continue;
            }
        };
        let inside = &rest[at + 2..];
        let length = if close == "#}" { inside.find(close) } else { end_of(inside, close) };
        // Not closed: what follows is text.
        let Some(length) = length else { break };
        parts.push(Part::Text(&rest[..at]));
        let content = inside[..length].trim_matches(['-', '+']).trim();
        rest = &inside[length + 2..];
        from = 0;
        match close {
            "}}" => parts.push(Part::Print(content)),
            "%}" if content == "raw" => {
                let (text, after) = end_of_raw(rest);
                parts.push(Part::Text(text));
                rest = after;
            }
            "%}" => parts.push(Part::Tag(content)),
            // A comment parts words as white space does.
            _ => parts.push(Part::Text(" ")),
        }
    }
    parts.push(Part::Text(rest));
    parts
}

/// Where a tag ends: not in one of its strings.
fn end_of(inside: &str, close: &str) -> Option<usize> {
    let bytes = inside.as_bytes();
    let mut quote = None;
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(q), b) if q == b => quote = None,
            (None, b @ (b'\'' | b'"')) => quote = Some(b),
            (None, b) if b == close.as_bytes()[0] && inside[at..].starts_with(close) => return Some(at),
            _ => {}
        }
        at += 1;
    }
    // A quote that isn't closed was no string.
    inside.find(close)
}

/// The text up to `{% endraw %}`, and what follows that.
fn end_of_raw(source: &str) -> (&str, &str) {
    let mut from = 0;
    while let Some(at) = source[from..].find("{%").map(|at| at + from) {
        let Some(length) = source[at..].find("%}") else { break };
        let tag = source[at + 2..at + length].trim_matches(['-', '+']).trim();
        if tag == "endraw" {
            return (&source[..at], &source[at + length + 2..]);
        }
        from = at + 2;
    }
    (source, "")
}

/// Rewrites a template.
///
/// # Errors
/// If it has more tags or branches than are rendered.
pub fn rewrite(source: &str) -> Result<Rewritten<'_>, String> {
    let parts = parts(source);
    let tags = parts.iter().filter(|part| !matches!(part, Part::Text(_))).count();
    if tags > TAGS {
        return Err(format!("it has {tags} tags, and no more than {TAGS} are rendered"));
    }
    let mut out = Rewritten::default();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut branches = 0;
    for part in parts {
        match part {
            Part::Text("") => {}
            Part::Text(text) => {
                out.template.push(TEXT[0]);
                out.template += &out.texts.len().to_string();
                out.template.push(TEXT[1]);
                out.texts.push(text);
            }
            Part::Print(content) => {
                let expression = Expressions::new(content, &mut known).whole();
                let expression = expression.unwrap_or_else(|why| {
                    out.error.get_or_insert(why);
                    ANY.into()
                });
                out.template += &format!("{{{{ {expression} }}}}");
            }
            Part::Tag(content) => {
                branches += usize::from(content.starts_with("elif"));
                if branches > BRANCHES {
                    return Err(format!("it has more than {BRANCHES} branches"));
                }
                match tag(content, &mut known) {
                    Ok(Some(tag)) => out.template += &format!("{{% {tag} %}}"),
                    // Tags that only mark a part of the text.
                    Ok(None) => out.template.push(' '),
                    Err(why) => {
                        return Err(format!(
                            "{why}: {{% {} %}}",
                            content.chars().take(80).collect::<String>()
                        ));
                    }
                }
            }
        }
    }
    out.conditions = known.len();
    Ok(out)
}

/// A call that gives an unknown value.
const ANY: &str = "__any()";

/// A tag's content, rewritten. `None` if the tag is left out, and what it surrounds stays.
fn tag(content: &str, known: &mut HashMap<String, usize>) -> Result<Option<String>, String> {
    let word: String = content.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let rest = content[word.len()..].trim();
    let mut expression =
        |text: &str| -> String { Expressions::new(text, known).whole().unwrap_or_else(|_| ANY.into()) };
    Ok(match word.as_str() {
        "if" | "elif" => Some(format!("{word} {}", condition(rest, known))),
        "else" | "endif" | "endfor" | "endmacro" | "endset" | "endwith" => Some(word),
        "for" => {
            let (targets, list) = split_at_word(rest, "in").ok_or("a loop over nothing")?;
            let list = split_at_word(list, "if").map_or(list, |(list, _)| list);
            let list = list.trim().strip_suffix(" recursive").unwrap_or(list);
            let arity = targets.split(',').count();
            Some(format!("for {targets} in __loop({}, {arity})", expression(list)))
        }
        "set" => match split_at_sign(rest) {
            // A property of an object that isn't there.
            Some((names, _)) if names.contains(['.', '[']) => None,
            // Lists that are filled by what follows.
            Some((names, value)) if matches!(value.trim(), "[]" | "{}" | "()" | "dict()" | "list()") => {
                Some(format!("set {names} = {ANY}"))
            }
            Some((names, value)) if names.contains(',') => {
                let arity = names.split(',').count();
                Some(format!("set {names} = __unpack({}, {arity})", expression(value)))
            }
            Some((names, value)) => Some(format!("set {names} = {}", expression(value))),
            None => {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                Some(format!("set {name}"))
            }
        },
        "with" => {
            let pairs =
                split_at_sign(rest).filter(|(names, value)| !names.contains(',') && !value.contains(','));
            let (name, value) = pairs.ok_or("a WITH of more than one name")?;
            Some(format!("with {name} = {}", expression(value)))
        }
        "macro" => Some(format!("macro {}", signature(rest).ok_or("a macro without a signature")?)),
        _ => None,
    })
}

/// A macro's name and parameters; what their defaults are is rewritten by nobody, so they are literals or unknown.
fn signature(text: &str) -> Option<String> {
    let (name, rest) = text.split_once('(')?;
    let rest = rest.trim_end().strip_suffix(')')?;
    let tokens = lex(rest).ok()?;
    let (mut parameters, mut current, mut depth): (Vec<Vec<Token<'_>>>, Vec<Token<'_>>, i32) =
        (Vec::new(), Vec::new(), 0);
    for token in tokens {
        match token {
            Token::Sign("(" | "[" | "{") => depth += 1,
            Token::Sign(")" | "]" | "}") => depth -= 1,
            Token::Sign(",") if depth == 0 => {
                parameters.push(std::mem::take(&mut current));
                continue;
            }
            _ => {}
        }
        current.push(token);
    }
    parameters.push(current);
    let parameter = |tokens: &Vec<Token<'_>>| match &**tokens {
        [Token::Name(name)] => Some((*name).to_owned()),
        [Token::Name(name), Token::Sign("="), value @ (Token::Text(_) | Token::Number(_))] => {
            Some(format!("{name}={}", value.text()))
        }
        [Token::Name(name), Token::Sign("="), Token::Name(value @ ("true" | "false" | "none"))] => {
            Some(format!("{name}={value}"))
        }
        [Token::Name(name), Token::Sign("="), ..] => Some(format!("{name}={ANY}")),
        _ => None,
    };
    let named: Option<Vec<String>> = parameters.iter().filter(|p| !p.is_empty()).map(parameter).collect();
    Some(format!("{}({})", name.trim(), named?.join(", ")))
}

/// Splits at a word that is in no string and no parentheses.
fn split_at_word<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let mut depth = 0_i32;
    for (at, token) in lex_spans(text).ok()? {
        match token {
            Token::Sign("(" | "[" | "{") => depth += 1,
            Token::Sign(")" | "]" | "}") => depth -= 1,
            Token::Name(name) if name == word && depth == 0 => {
                return Some((text[..at].trim(), &text[at + word.len()..]));
            }
            _ => {}
        }
    }
    None
}

/// Splits at the `=` of an assignment.
fn split_at_sign(text: &str) -> Option<(&str, &str)> {
    let (_, at) = lex_spans(text)
        .ok()?
        .into_iter()
        .map(|(at, token)| (token, at))
        .find(|(t, _)| *t == Token::Sign("="))?;
    Some((text[..at].trim(), &text[at + 1..]))
}

/// A condition that the caller chooses; one on the loop itself is left as it is.
fn condition(text: &str, known: &mut HashMap<String, usize>) -> String {
    let is_of_loop = lex(text).is_ok_and(|tokens| tokens.contains(&Token::Name("loop")));
    if is_of_loop {
        return Expressions::new(text, known).whole().unwrap_or_else(|_| chosen(text, known));
    }
    chosen(text, known)
}

fn chosen(text: &str, known: &mut HashMap<String, usize>) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (negated, words) = match &*words {
        ["not", rest @ ..] => (true, rest),
        all => (false, all),
    };
    let count = known.len();
    let number = *known.entry(words.join(" ")).or_insert(count);
    if negated { format!("not __take({number})") } else { format!("__take({number})") }
}

/// Rewrites an expression: a parser of Jinja's that writes what it reads.
struct Expressions<'a, 'k> {
    tokens: Vec<Token<'a>>,
    at: usize,
    depth: usize,
    known: &'k mut HashMap<String, usize>,
    error: Option<String>,
}

impl<'a, 'k> Expressions<'a, 'k> {
    fn new(text: &'a str, known: &'k mut HashMap<String, usize>) -> Self {
        let (tokens, error) = match lex(text) {
            Ok(tokens) => (tokens, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Self { tokens, at: 0, depth: 0, known, error }
    }

    fn whole(mut self) -> Result<String, String> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let mut items = vec![self.expression()?];
        while self.take(",") {
            if self.at < self.tokens.len() {
                items.push(self.expression()?);
            }
        }
        match self.tokens.get(self.at) {
            Some(token) => Err(format!("{:?} in an expression", token.text())),
            None if items.len() == 1 => Ok(items.remove(0)),
            None => Ok(format!("[{}]", items.join(", "))),
        }
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    fn take(&mut self, sign: &str) -> bool {
        let is = self.peek() == Some(Token::Sign(sign));
        self.at += usize::from(is);
        is
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is = self.peek() == Some(Token::Name(word));
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) { Ok(()) } else { Err(format!("no {sign:?} in an expression")) }
    }

    fn expression(&mut self) -> Result<String, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err("an expression that is nested too deep".into());
        }
        let mut value = self.either()?;
        while self.take_word("if") {
            let from = self.at;
            let test = self.either()?;
            let tokens = &self.tokens[from..self.at];
            let is_of_loop = tokens.contains(&Token::Name("loop"));
            let text = tokens.iter().map(|token| token.text()).collect::<Vec<_>>().join(" ");
            let test = if is_of_loop { test } else { chosen(&text, self.known) };
            let other = if self.take_word("else") { self.expression()? } else { "''".into() };
            value = format!("({value} if {test} else {other})");
        }
        self.depth -= 1;
        Ok(value)
    }

    fn either(&mut self) -> Result<String, String> {
        let mut value = self.both()?;
        while self.take_word("or") {
            value = format!("__or({value}, {})", self.both()?);
        }
        Ok(value)
    }

    fn both(&mut self) -> Result<String, String> {
        let mut value = self.negation()?;
        while self.take_word("and") {
            value = format!("({value} and {})", self.negation()?);
        }
        Ok(value)
    }

    fn negation(&mut self) -> Result<String, String> {
        let mut count = 0_usize;
        while self.take_word("not") {
            count += 1;
        }
        let value = self.comparison()?;
        Ok(if count % 2 == 1 { format!("(not {value})") } else { value })
    }

    fn comparison(&mut self) -> Result<String, String> {
        let mut value = self.sum()?;
        loop {
            let sign = match self.peek() {
                Some(Token::Sign(sign @ ("==" | "!=" | "<" | ">" | "<=" | ">="))) => sign,
                Some(Token::Name("in")) => {
                    self.at += 1;
                    let list = self.sum()?;
                    value = format!("__in({value}, {list})");
                    continue;
                }
                Some(Token::Name("not")) if self.tokens.get(self.at + 1) == Some(&Token::Name("in")) => {
                    self.at += 2;
                    let list = self.sum()?;
                    value = format!("(not __in({value}, {list}))");
                    continue;
                }
                Some(Token::Name("is")) => {
                    self.at += 1;
                    self.take_word("not");
                    // A test, and what it may be given.
                    self.at += 1;
                    if self.peek() == Some(Token::Sign("(")) {
                        self.arguments()?;
                    }
                    value = format!("__in({value}, [])");
                    continue;
                }
                _ => return Ok(value),
            };
            self.at += 1;
            value = format!("({value} {sign} {})", self.sum()?);
        }
    }

    fn sum(&mut self) -> Result<String, String> {
        self.chain(&["+", "-"], Self::concatenation)
    }

    fn concatenation(&mut self) -> Result<String, String> {
        self.chain(&["~"], Self::product)
    }

    fn product(&mut self) -> Result<String, String> {
        self.chain(&["*", "/", "//", "%", "**"], Self::unary)
    }

    /// Operands between operators of one rank, in one call: as many as there are make it no deeper.
    fn chain(
        &mut self,
        signs: &[&str],
        operand: fn(&mut Self) -> Result<String, String>,
    ) -> Result<String, String> {
        let first = operand(self)?;
        let mut rest = String::new();
        while let Some(Token::Sign(sign)) =
            self.peek().filter(|t| matches!(t, Token::Sign(s) if signs.contains(s)))
        {
            self.at += 1;
            rest += &format!(", {sign:?}, {}", operand(self)?);
        }
        Ok(if rest.is_empty() { first } else { format!("__math({first}{rest})") })
    }

    fn unary(&mut self) -> Result<String, String> {
        let mut negative = false;
        while let Some(Token::Sign(sign @ ("-" | "+"))) = self.peek() {
            self.at += 1;
            negative ^= sign == "-";
        }
        let value = self.postfix()?;
        Ok(if negative { format!("__math(0, \"-\", {value})") } else { value })
    }

    fn postfix(&mut self) -> Result<String, String> {
        let mut value = self.primary()?;
        loop {
            if self.take(".") {
                match self.peek() {
                    Some(Token::Name(name)) => value = format!("{value}.{name}"),
                    Some(Token::Number(index)) => value = format!("__item({value}, {index})"),
                    _ => return Err("a dot before nothing".into()),
                }
                self.at += 1;
            } else if self.take("[") {
                value = self.subscript(value)?;
            } else if self.peek() == Some(Token::Sign("(")) {
                value = format!("{value}({})", self.arguments()?);
            } else if self.take("|") {
                let Some(Token::Name(name)) = self.peek() else {
                    return Err("a filter without a name".into());
                };
                self.at += 1;
                let arguments =
                    if self.peek() == Some(Token::Sign("(")) { self.arguments()? } else { String::new() };
                let comma = if arguments.is_empty() { "" } else { ", " };
                value = format!("__filter({name:?}, {value}{comma}{arguments})");
            } else {
                return Ok(value);
            }
        }
    }

    fn subscript(&mut self, value: String) -> Result<String, String> {
        let mut is_slice = false;
        let mut index = String::new();
        while self.peek() != Some(Token::Sign("]")) {
            if self.take(":") {
                is_slice = true;
            } else {
                index = self.expression()?;
                if self.take(",") {
                    is_slice = true;
                }
            }
        }
        self.expect("]")?;
        Ok(if is_slice || index.is_empty() { value } else { format!("__item({value}, {index})") })
    }

    fn arguments(&mut self) -> Result<String, String> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        while !self.take(")") {
            let name = match (self.peek(), self.tokens.get(self.at + 1)) {
                (Some(Token::Name(name)), Some(Token::Sign("="))) => {
                    self.at += 2;
                    format!("{name}=")
                }
                _ => String::new(),
            };
            // `*args` and `**kwargs` are unknown.
            if self.take("*") || self.take("**") {
                self.expression()?;
            } else {
                arguments.push(format!("{name}{}", self.expression()?));
            }
            if !self.take(",") && self.peek() != Some(Token::Sign(")")) {
                return Err("arguments that don't end".into());
            }
        }
        Ok(arguments.join(", "))
    }

    fn primary(&mut self) -> Result<String, String> {
        let Some(token) = self.peek() else { return Err("an expression that ends early".into()) };
        self.at += 1;
        match token {
            Token::Text(_) => {
                let mut text = token.text().to_owned();
                // Strings side by side are one.
                while let Some(Token::Text(next)) = self.peek() {
                    self.at += 1;
                    text = format!("__math({text}, \"~\", {next})");
                }
                Ok(text)
            }
            Token::Number(_) => Ok(token.text().to_owned()),
            Token::Name(name) => Ok(match name {
                "True" | "False" | "None" => name.to_lowercase(),
                _ => name.to_owned(),
            }),
            Token::Sign("(") => {
                let items = self.items(")")?;
                Ok(if let [one] = &*items { format!("({one})") } else { format!("[{}]", items.join(", ")) })
            }
            Token::Sign("[") => Ok(format!("[{}]", self.items("]")?.join(", "))),
            Token::Sign("{") => {
                let mut pairs = Vec::new();
                while !self.take("}") {
                    let key = self.expression()?;
                    self.expect(":")?;
                    pairs.push(format!("{key}: {}", self.expression()?));
                    if !self.take(",") && self.peek() != Some(Token::Sign("}")) {
                        return Err("a dictionary that doesn't end".into());
                    }
                }
                Ok(format!("{{{}}}", pairs.join(", ")))
            }
            Token::Sign(sign) => Err(format!("{sign:?} in an expression")),
        }
    }

    fn items(&mut self, close: &str) -> Result<Vec<String>, String> {
        let mut items = Vec::new();
        while !self.take(close) {
            items.push(self.expression()?);
            if !self.take(",") && self.peek() != Some(Token::Sign(close)) {
                return Err("a list that doesn't end".into());
            }
        }
        Ok(items)
    }
}
