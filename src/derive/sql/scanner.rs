//! Finds the tables of SQL that doesn't parse: the names that follow keywords which introduce tables.

use std::collections::HashSet;

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::filter::is_placeholder;
use super::names::{Part, TableName, Warehouse, assemble};
use super::parser::{is, tokens, word};
use super::{Evidence, Reading, Setting, words};

/// Keywords that end the list of tables of a FROM clause.
const ENDS_FROM: &str = "\
    where group order having limit union except intersect minus qualify window select set values \
    returning fetch offset connect start prewhere settings when sort cluster distribute format \
    with into do pivot unpivot then begin end insert update delete merge create for measures \
    define pattern";

/// Words that no table is called without quotes where one is looked for.
const NO_TABLES: &str = "\
    select where lateral unnest values on set as group order limit using and or by join left \
    right inner outer full cross natural union case when then else end not null in is like \
    between exists having with from into all distinct if only overwrite directory local \
    function view";

/// Words before parentheses that hold a query or tables, and not a function's arguments.
const OPENS_QUERY: &str = "as in exists any all some lateral from join on and or not union except intersect select with \
    table values using where then else when having by materialized into apply minus view explain returns return";

/// Words that begin a query in parentheses.
const QUERIES: [&str; 11] = [
    "select",
    "with",
    "values",
    "from",
    "table",
    "insert",
    "update",
    "delete",
    "pivot",
    "unpivot",
    "summarize",
];

/// Context of a pair of parentheses.
#[derive(Debug, Clone, Default)]
struct Level {
    /// The word before it, in lower case.
    opener: String,
    /// Whether a SELECT stands in it.
    has_select: bool,
    /// Whether a FROM clause is open in it: commas are followed by tables.
    in_from: bool,
}

/// Role of a name that follows a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Read,
    Write,
    Temporary,
}

struct Scan<'t, 'a> {
    tokens: Vec<&'t Token>,
    at: usize,
    setting: Setting<'a>,
    reading: Reading,
    levels: Vec<Level>,
    ctes: HashSet<String>,
    aliases: HashSet<String>,
    /// First keyword of the statement, in lower case.
    verb: String,
    /// Whether the source of a MERGE was read.
    has_source: bool,
}

/// Finds the tables of one statement or more.
pub fn scan(tokens: &[TokenWithSpan], setting: Setting<'_>) -> Reading {
    let tokens: Vec<&Token> =
        tokens.iter().map(|t| &t.token).filter(|t| !matches!(t, Token::Whitespace(_))).collect();
    let mut scan = Scan {
        ctes: ctes(&tokens),
        tokens,
        at: 0,
        setting,
        reading: Reading::default(),
        levels: vec![Level::default()],
        aliases: HashSet::new(),
        verb: String::new(),
        has_source: false,
    };
    scan.run();
    let temporary = &scan.reading.temporary;
    let is_lasting = |table: &TableName| !temporary.contains(table);
    let mut reading = scan.reading.clone();
    reading.reads.retain(|table, _| is_lasting(table));
    reading.writes.retain(|table, _| is_lasting(table));
    reading
}

/// Finds the tables of a text.
pub fn scan_text(text: &str, setting: Setting<'_>) -> Reading {
    scan(&tokens(text, setting.warehouse).0, setting)
}

/// Names of CTEs: `name AS (`, `name (columns) AS (`, behind WITH.
fn ctes(tokens: &[&Token]) -> HashSet<String> {
    let mut found = HashSet::new();
    if !tokens.iter().any(|token| is(Some(token), "with")) {
        return found;
    }
    for (at, token) in tokens.iter().enumerate() {
        let Some(name) = word(token) else { continue };
        // ClickHouse's `WITH (SELECT 1) AS name`.
        let is_after = at > 1 && is(Some(tokens[at - 1]), "as") && matches!(tokens[at - 2], Token::RParen);
        if is_after
            && tokens.get(at + 1).is_some_and(|next| matches!(next, Token::Comma) || is(Some(next), "select"))
        {
            found.insert(name.value.to_lowercase());
        }
        let starts = at == 0
            || matches!(tokens[at - 1], Token::Comma)
            || ["with", "recursive"].iter().any(|w| is(Some(tokens[at - 1]), w));
        if !starts {
            continue;
        }
        let mut next = at + 1;
        if matches!(tokens.get(next), Some(Token::LParen)) {
            let close = tokens[next..].iter().position(|t| matches!(t, Token::RParen));
            // A list of columns is short; looking for its end must not make a scan slow.
            match close {
                Some(length) if length < 2_000 => next += length + 1,
                _ => continue,
            }
        }
        if !is(tokens.get(next).copied(), "as") {
            continue;
        }
        next += 1;
        while ["not", "materialized"].iter().any(|w| is(tokens.get(next).copied(), w)) {
            next += 1;
        }
        if matches!(tokens.get(next), Some(Token::LParen)) {
            found.insert(name.value.to_lowercase());
        }
    }
    found
}

impl<'t> Scan<'t, '_> {
    fn get(&self, offset: isize) -> Option<&'t Token> {
        self.tokens.get(self.at.checked_add_signed(offset)?).copied()
    }

    fn is(&self, offset: isize, keyword: &str) -> bool {
        is(self.get(offset), keyword)
    }

    fn is_any(&self, offset: isize, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(offset, keyword))
    }

    fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        self.levels.last_mut().expect("one was pushed")
    }

    fn run(&mut self) {
        while self.at < self.tokens.len() {
            let token = self.tokens[self.at];
            match token {
                Token::SemiColon => {
                    self.levels = vec![Level::default()];
                    self.verb.clear();
                    self.has_source = false;
                    self.aliases.clear();
                }
                Token::LParen => {
                    let opener =
                        self.get(-1).and_then(word).map(|w| w.value.to_lowercase()).unwrap_or_default();
                    self.levels.push(Level { opener, ..Level::default() });
                }
                Token::RParen if self.levels.len() > 1 => drop(self.levels.pop()),
                Token::Comma if self.level().in_from => {
                    self.at += 1;
                    self.table(Role::Read);
                    continue;
                }
                Token::Word(word)
                    if word.quote_style.is_none() && self.keyword(&word.value.to_lowercase()) =>
                {
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Looks at a keyword. True if it moved on.
    fn keyword(&mut self, keyword: &str) -> bool {
        if matches!(self.get(-1), Some(Token::Period)) {
            return false;
        }
        let starts = self.verb.is_empty();
        if starts {
            self.verb = keyword.to_owned();
            self.statement_start(keyword);
        }
        match keyword {
            "select" => {
                let level = self.level();
                level.has_select = true;
                level.in_from = false;
            }
            "from" => return self.from(),
            // ClickHouse's: arrays follow, not tables.
            "join" if self.is(-1, "array") => self.level().in_from = false,
            "join" | "straight_join" => {
                self.at += 1;
                self.level().in_from = true;
                self.table(Role::Read);
                return true;
            }
            "apply" if self.is_any(-1, &["cross", "outer"]) => {
                self.at += 1;
                self.table(Role::Read);
                return true;
            }
            "using" if self.introduces_source() => {
                self.at += 1;
                self.has_source = true;
                self.level().in_from = self.verb == "delete";
                self.table(Role::Read);
                return true;
            }
            // `USING a, b` without parentheses names columns.
            "using" if !matches!(self.get(1), Some(Token::LParen)) => self.level().in_from = false,
            "clone" | "copy" if self.verb == "create" && self.levels.len() == 1 => {
                self.at += 1;
                self.table(Role::Read);
                return true;
            }
            "into" if !self.is(-1, "then") => return self.into(),
            "overwrite" if self.verb == "insert" => return self.into(),
            "update" if starts || self.is_any(-1, &["explain"]) => {
                self.at += 1;
                self.level().in_from = true;
                self.table(Role::Write);
                return true;
            }
            "table" => return self.table_keyword(),
            "view" if self.verb == "create" && self.levels.len() == 1 => {
                let is_temporary = (1..=3).any(|back| self.is_any(-back, &["temp", "temporary"]));
                self.at += 1;
                self.skip(&["if", "not", "exists"]);
                self.table(if is_temporary { Role::Temporary } else { Role::Write });
                return true;
            }
            "merge" if starts && !self.is(1, "into") => {
                self.at += 1;
                self.table(Role::Write);
                return true;
            }
            "copy" if starts && !self.is(1, "into") && !matches!(self.get(1), Some(Token::LParen)) => {
                self.at += 1;
                return self.copy();
            }
            "pivot" | "unpivot" | "summarize" if starts || matches!(self.get(-1), Some(Token::LParen)) => {
                self.at += 1;
                self.table(Role::Read);
                return true;
            }
            _ if words::has(ENDS_FROM, keyword) => self.level().in_from = false,
            _ => {}
        }
        false
    }

    /// Takes note of what the first word of a statement says of the others.
    fn statement_start(&mut self, keyword: &str) {
        if keyword == "with" || keyword == "explain" {
            // The verb is behind the CTEs: the last one that isn't in parentheses.
            let mut depth = 0;
            for token in &self.tokens[self.at..] {
                match token {
                    Token::LParen => depth += 1,
                    Token::RParen => depth -= 1,
                    Token::SemiColon => break,
                    Token::Word(w) if depth == 0 && w.quote_style.is_none() => {
                        let lower = w.value.to_lowercase();
                        if matches!(lower.as_str(), "select" | "insert" | "update" | "delete" | "merge") {
                            self.verb = lower;
                            break;
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn skip(&mut self, keywords: &[&str]) {
        while self.is_any(0, keywords) {
            self.at += 1;
        }
    }

    fn from(&mut self) -> bool {
        let is_comparison = self.is(-1, "distinct") && self.is_any(-2, &["is", "not"]);
        let opener = self.level().opener.clone();
        let has_select = self.level().has_select;
        // `extract(day from x)`, `trim(both from x)`: a function's argument.
        let is_argument = !has_select && !opener.is_empty() && !words::has(OPENS_QUERY, &opener);
        let is_period = self.is(-1, "system_time") || self.is(-1, "rows");
        let is_of_window =
            self.is_any(1, &["first", "last"]) && self.is_any(2, &["ignore", "respect", "over"]);
        let is_other = matches!(self.verb.as_str(), "grant" | "revoke" | "show");
        if is_comparison || is_argument || is_period || is_of_window || is_other {
            return false;
        }
        let is_delete = self.is(-1, "delete");
        let is_copy = self.verb == "copy" && !has_select && self.levels.len() == 1;
        self.at += 1;
        self.level().in_from = !is_delete;
        if is_copy && matches!(self.get(0), Some(Token::SingleQuotedString(_))) {
            self.reading.files += 1;
            return true;
        }
        self.table(if is_delete { Role::Write } else { Role::Read });
        true
    }

    fn into(&mut self) -> bool {
        let writes =
            matches!(self.verb.as_str(), "insert" | "merge" | "replace" | "copy" | "select" | "load");
        if !writes {
            return false;
        }
        self.at += 1;
        let is_temporary = self.is_any(0, &["temp", "temporary"]);
        self.skip(&["table", "temp", "temporary", "unlogged", "into", "overwrite", "directory", "local"]);
        self.table(if is_temporary { Role::Temporary } else { Role::Write });
        true
    }

    /// `TABLE name`, in all the places where it may stand.
    fn table_keyword(&mut self) -> bool {
        let top = self.levels.len() == 1;
        let how = match self.verb.as_str() {
            "create" if top => {
                let is_temporary = (1..=3).any(|back| self.is_any(-back, &["temp", "temporary"]));
                if is_temporary {
                    Role::Temporary
                } else if self.makes_rows() {
                    Role::Write
                } else {
                    return false;
                }
            }
            "truncate" if top => Role::Write,
            "insert" if top => Role::Write,
            // A function's argument: `ML.PREDICT(MODEL m, TABLE t)`.
            _ if !top && matches!(self.get(-1), Some(Token::LParen | Token::Comma)) => Role::Read,
            // `TABLE t`, a query of its own.
            "table" if top => Role::Read,
            _ if top && self.is_any(-1, &["all", "union", "as"]) => Role::Read,
            _ => return false,
        };
        self.at += 1;
        self.skip(&["if", "not", "exists"]);
        if matches!(self.get(0), Some(Token::LParen)) {
            // `TABLE(f(x))`, `TABLE(name)`
            self.at += 1;
            self.levels.push(Level { opener: "table".into(), ..Level::default() });
        }
        self.table(how);
        true
    }

    /// Whether the CREATE TABLE that is being read takes its rows from a query or another table.
    fn makes_rows(&self) -> bool {
        let rest = &self.tokens[self.at..];
        let end = rest.iter().position(|t| matches!(t, Token::SemiColon)).unwrap_or(rest.len());
        rest[..end].iter().any(|t| ["select", "clone", "with", "values"].iter().any(|w| is(Some(t), w)))
    }

    /// `COPY name FROM ...` writes, `COPY name TO ...` reads.
    fn copy(&mut self) -> bool {
        let rest = &self.tokens[self.at..];
        let mut depth = 0;
        let direction = rest.iter().take(10_000).find(|token| {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            depth == 0 && (is(Some(token), "from") || is(Some(token), "to"))
        });
        let reads = direction.is_some_and(|token| is(Some(token), "to"));
        self.table(if reads { Role::Read } else { Role::Write });
        true
    }

    /// Reads the name that stands here, if one does.
    fn table(&mut self, how: Role) {
        self.skip(&["only", "lateral", "if", "exists", "final"]);
        // `TABLE name`, and not a table of that name.
        let follows = matches!(self.get(1), Some(Token::Word(w)) if w.quote_style.is_some() || w.keyword == Keyword::NoKeyword);
        if self.is(0, "table") && (follows || matches!(self.get(1), Some(Token::LParen))) {
            self.at += 1;
        }
        // DuckDB's `alias: table`.
        if self.setting.warehouse == Warehouse::DuckDb && matches!(self.get(1), Some(Token::Colon)) {
            self.at += 2;
        }
        if self.is(0, "rows") && self.is(1, "from") {
            self.at += 2;
            return;
        }
        while matches!(self.get(0), Some(Token::LParen)) {
            let is_query = self.is_any(1, &QUERIES);
            let in_from = !is_query;
            self.levels.push(Level { in_from, opener: "(".into(), ..Level::default() });
            self.at += 1;
            if is_query {
                return;
            }
        }
        let start = self.at;
        match self.get(0) {
            Some(Token::SingleQuotedString(_) | Token::AtSign) => {
                self.reading.files += 1;
                self.at += 1;
                return;
            }
            Some(Token::Word(w)) if w.quote_style.is_none() && words::has(NO_TABLES, &w.value) => {
                return;
            }
            Some(Token::Word(w)) if w.quote_style.is_none() && w.value.starts_with('@') => {
                self.reading.files += 1;
                self.at += 1;
                return;
            }
            Some(Token::Word(_)) => {}
            Some(Token::LBracket) if self.has_brackets() => {}
            _ => return,
        }
        let Some(parts) = self.name() else {
            self.at = start + 1;
            return;
        };
        // What follows in parentheses: columns of INSERT, hints, or the arguments of a function.
        let is_function = matches!(self.get(0), Some(Token::LParen))
            && how == Role::Read
            && !self.get(1).and_then(word).is_some_and(|w| words::is_table_hint(&w.value.to_lowercase()));
        if !is_function {
            self.found(parts, how);
        }
        // An alias, with or without AS.
        let explicit = self.is(0, "as");
        if let Some(alias) = self.get(if explicit { 1 } else { 0 }).and_then(word)
            && (alias.keyword == Keyword::NoKeyword || alias.quote_style.is_some())
            && how == Role::Read
        {
            self.aliases.insert(alias.value.to_lowercase());
        }
    }

    /// Whether brackets quote names here.
    fn has_brackets(&self) -> bool {
        matches!(self.setting.warehouse, Warehouse::SqlServer | Warehouse::BigQuery)
    }

    /// Whether the USING that stands here introduces the tables that a MERGE or DELETE reads.
    fn introduces_source(&self) -> bool {
        let by_verb = match self.verb.as_str() {
            "merge" => !self.has_source,
            "delete" => true,
            _ => false,
        };
        by_verb && self.levels.len() == 1
    }

    /// The parts of the name that stands here. `None` if it isn't one.
    fn name(&mut self) -> Option<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::new();
        loop {
            match self.get(0) {
                Some(Token::Word(w)) => {
                    let mut part = w.value.clone();
                    let quoted = w.quote_style.is_some();
                    self.at += 1;
                    // `my-project.dataset.table`
                    while !quoted
                        && self.setting.warehouse == Warehouse::BigQuery
                        && matches!(self.get(0), Some(Token::Minus))
                    {
                        match self.get(1) {
                            Some(Token::Word(next)) if next.quote_style.is_none() => {
                                part += &format!("-{}", next.value)
                            }
                            Some(Token::Number(n, _)) => part += &format!("-{n}"),
                            _ => break,
                        }
                        self.at += 2;
                    }
                    parts.push((part, quoted));
                }
                // `database..table`
                Some(Token::Period)
                    if self.setting.warehouse == Warehouse::SqlServer && !parts.is_empty() =>
                {
                    parts.push((String::new(), false));
                }
                Some(Token::LBracket) if self.has_brackets() => {
                    let mut part = String::new();
                    self.at += 1;
                    while let Some(token) = self.get(0) {
                        self.at += 1;
                        if matches!(token, Token::RBracket) {
                            break;
                        }
                        part += &token.to_string();
                    }
                    parts.extend(part.split('.').map(|p| (p.to_owned(), true)));
                }
                Some(Token::Mul) if !parts.is_empty() => {
                    self.at += 1;
                    return None;
                }
                _ => return (!parts.is_empty()).then_some(parts),
            }
            match self.get(0) {
                Some(Token::Period) => self.at += 1,
                _ => return Some(parts),
            }
        }
    }

    /// Takes note of a name.
    fn found(&mut self, parts: Vec<Part>, how: Role) {
        let first = parts.first().map(|(part, _)| part.to_lowercase()).unwrap_or_default();
        let (setting, reading) = (self.setting, &mut self.reading);
        if parts.iter().any(|(part, _)| is_placeholder(part)) {
            reading.unnamed_tables += 1;
            return;
        }
        if parts
            .last()
            .is_some_and(|(part, quoted)| *quoted && (part.contains("://") || part.starts_with('/')))
        {
            reading.files += 1;
            return;
        }
        if let [(part, quoted)] = &*parts {
            if self.ctes.contains(&first) || (!quoted && part.starts_with('#')) {
                return;
            }
            let is_frame = setting.dataframes.contains(&first) || setting.dataframes_only;
            if how == Role::Read && is_frame {
                reading.dataframes.insert(part.clone());
                return;
            }
        } else {
            let is_path = parts.len() == 2 && words::is_file_format(&first) && parts[1].1;
            if is_path {
                reading.files += 1;
                return;
            }
            // An array of a table before it.
            if how == Role::Read && self.aliases.contains(&first) {
                return;
            }
        }
        if setting.dataframes_only {
            return;
        }
        let alias = parts.last().map(|(part, _)| part.to_lowercase());
        match assemble(parts, setting.warehouse, setting.defaults) {
            Some(table) => {
                self.aliases.extend(alias.filter(|_| how == Role::Read));
                match how {
                    Role::Read => drop(reading.reads.insert(table, Evidence::Scanned)),
                    Role::Write => drop(reading.writes.insert(table, Evidence::Scanned)),
                    Role::Temporary => drop(reading.temporary.insert(table)),
                }
            }
            None => reading.unnamed_tables += 1,
        }
    }
}
