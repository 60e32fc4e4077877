//! From text to statements: tokens, repairs, parsing.

use sqlparser::ast::Statement;
use sqlparser::dialect::{
    BigQueryDialect, ClickHouseDialect, DatabricksDialect, Dialect, DuckDbDialect, GenericDialect,
    MsSqlDialect, MySqlDialect, PostgreSqlDialect, RedshiftSqlDialect, SnowflakeDialect,
};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use super::filter::is_placeholder;
use super::names::Warehouse;
use super::words;

/// Maximum nesting depth; deeper queries are not parsed, as are those that would take for ever.
const DEPTH: usize = 60;

/// A part of a cell's text.
pub enum Piece {
    /// Statements.
    Parsed(Vec<Statement>),
    /// The tokens of what isn't one, and why.
    Failed(Vec<TokenWithSpan>, String),
}

/// The dialect of a warehouse.
pub fn dialect(warehouse: Warehouse) -> Box<dyn Dialect> {
    match warehouse {
        Warehouse::Snowflake => Box::new(SnowflakeDialect {}),
        Warehouse::BigQuery => Box::new(BigQueryDialect {}),
        Warehouse::Postgres => Box::new(PostgreSqlDialect {}),
        Warehouse::Redshift => Box::new(RedshiftSqlDialect {}),
        Warehouse::Databricks => Box::new(DatabricksDialect {}),
        Warehouse::ClickHouse => Box::new(ClickHouseDialect {}),
        Warehouse::SqlServer => Box::new(MsSqlDialect {}),
        Warehouse::MySql => Box::new(MySqlDialect {}),
        Warehouse::DuckDb => Box::new(DuckDbDialect {}),
        Warehouse::Athena | Warehouse::Trino | Warehouse::Other => Box::new(GenericDialect {}),
    }
}

/// The tokens of a text. Where it can't be taken apart, as in a text that isn't closed, those before that, and why.
pub fn tokens(text: &str, warehouse: Warehouse) -> (Vec<TokenWithSpan>, Option<String>) {
    tokens_in(&*dialect(warehouse), text)
}

fn tokens_in(dialect: &dyn Dialect, text: &str) -> (Vec<TokenWithSpan>, Option<String>) {
    let mut tokens = Vec::new();
    let error = Tokenizer::new(dialect, text).tokenize_with_location_into_buf(&mut tokens).err();
    (tokens, error.map(|e| e.to_string()))
}

fn parse_tokens(dialect: &dyn Dialect, tokens: Vec<TokenWithSpan>) -> Result<Vec<Statement>, ParserError> {
    let parser = Parser::new(dialect).with_recursion_limit(DEPTH);
    parser.with_tokens_with_locations(tokens).parse_statements()
}

/// Parses a text as a whole.
///
/// # Errors
/// Why it can't be parsed, in words.
pub fn parse(text: &str, warehouse: Warehouse) -> Result<Vec<Statement>, String> {
    let dialect = dialect(warehouse);
    let (tokens, error) = tokens_in(&*dialect, text);
    match error {
        Some(error) => Err(error),
        None => parse_tokens(&*dialect, tokens).map_err(|e| e.to_string()),
    }
}

/// Parses a cell's text: as a whole if that can be, or each statement alone.
pub fn pieces(text: &str, warehouse: Warehouse) -> Vec<Piece> {
    let dialect = dialect(warehouse);
    let (tokens, error) = tokens_in(&*dialect, text);
    let tokens = repaired(tokens, warehouse);
    let first = match error {
        None => match parse_tokens(&*dialect, tokens.clone()) {
            Ok(statements) => return vec![Piece::Parsed(statements)],
            Err(e) => e.to_string(),
        },
        Some(error) => error,
    };
    let statements = split(&tokens);
    if statements.len() == 1 {
        return vec![alone(&*dialect, statements.into_iter().next().unwrap_or_default(), text, first)];
    }
    let parse = |tokens: Vec<TokenWithSpan>| match parse_tokens(&*dialect, tokens.clone()) {
        Ok(statements) => Piece::Parsed(statements),
        Err(e) => alone(&*dialect, tokens, "", e.to_string()),
    };
    let mut pieces: Vec<Piece> = statements.into_iter().map(parse).collect();
    if pieces.iter().all(|piece| matches!(piece, Piece::Parsed(_))) && first.contains("okenize") {
        // What follows the text that isn't closed was not seen.
        pieces.push(Piece::Failed(Vec::new(), first));
    }
    pieces
}

/// A statement that its own dialect refuses: another may be less strict.
fn alone(own: &dyn Dialect, tokens: Vec<TokenWithSpan>, text: &str, why: String) -> Piece {
    let generic = GenericDialect {};
    let simpler = without_placeholders(&tokens);
    if let Some(simpler) = simpler
        && let Ok(statements) = parse_tokens(own, simpler)
    {
        return Piece::Parsed(statements);
    }
    if let Ok(statements) = parse_tokens(&generic, tokens.clone()) {
        return Piece::Parsed(statements);
    }
    if !text.is_empty() && tokens.len() < 3 {
        let (tokens, error) = tokens_in(&generic, text);
        if error.is_none()
            && let Ok(statements) = parse_tokens(&generic, tokens)
        {
            return Piece::Parsed(statements);
        }
    }
    Piece::Failed(tokens, why)
}

/// Splits tokens at semicolons. Parentheses that aren't closed end with the statement all the same.
fn split(tokens: &[TokenWithSpan]) -> Vec<Vec<TokenWithSpan>> {
    let mut statements = vec![Vec::new()];
    for token in tokens {
        match token.token {
            Token::SemiColon => statements.push(Vec::new()),
            _ => statements.last_mut().expect("there is one").push(token.clone()),
        }
    }
    let is_blank =
        |tokens: &Vec<TokenWithSpan>| tokens.iter().all(|t| matches!(t.token, Token::Whitespace(_)));
    statements.retain(|statement| !is_blank(statement));
    if statements.is_empty() {
        statements.push(Vec::new());
    }
    statements
}

pub(super) fn word(token: &Token) -> Option<&Word> {
    match token {
        Token::Word(word) => Some(word),
        _ => None,
    }
}

/// Whether a token is this keyword, in any case and without quotes.
pub(super) fn is(token: Option<&Token>, keyword: &str) -> bool {
    matches!(token, Some(Token::Word(word)) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword))
}

fn is_any(token: Option<&Token>, keywords: &[&str]) -> bool {
    keywords.iter().any(|keyword| is(token, keyword))
}

/// Keywords that an operand follows, or that can't end one.
const BEFORE_OPERAND: &str = "\
    select distinct all from join where and or not on having by in like ilike rlike similar \
    between is case when then else limit offset top values set into table update using union \
    except intersect with as interval exists any some qualify over fetch first next escape \
    regexp to use schema database return call lateral prewhere sample tablesample date timestamp \
    time explain";

/// Whether a token can end an operand.
fn ends_operand(token: Option<&Token>) -> bool {
    match token {
        Some(Token::Word(word)) => word.quote_style.is_some() || !words::has(BEFORE_OPERAND, &word.value),
        Some(Token::Number(..) | Token::RParen | Token::RBracket | Token::SingleQuotedString(_)) => true,
        _ => false,
    }
}

/// Whether a token can begin an operand.
fn starts_operand(token: Option<&Token>) -> bool {
    match token {
        Some(Token::Word(word)) => {
            word.quote_style.is_some()
                || word.keyword == sqlparser::keywords::Keyword::NoKeyword
                || ["case", "cast", "date", "interval", "null", "true", "false", "timestamp"]
                    .iter()
                    .any(|w| word.value.eq_ignore_ascii_case(w))
        }
        Some(Token::Number(..) | Token::SingleQuotedString(_) | Token::LParen) => true,
        _ => false,
    }
}

/// Puts what stands in for a template's expressions where SQL has a place for it, and takes out what the parser
/// doesn't know and lineage doesn't need.
fn repaired(tokens: Vec<TokenWithSpan>, warehouse: Warehouse) -> Vec<TokenWithSpan> {
    let has_placeholders = tokens.iter().any(|t| word(&t.token).is_some_and(|w| is_placeholder(&w.value)));
    let is_special = matches!(warehouse, Warehouse::MySql | Warehouse::Databricks | Warehouse::DuckDb);
    if !has_placeholders && !is_special {
        return tokens;
    }
    let significant: Vec<usize> =
        (0..tokens.len()).filter(|i| !matches!(tokens[*i].token, Token::Whitespace(_))).collect();
    let mut keep: Vec<Change> = vec![Change::Keep; tokens.len()];
    for at in 0..significant.len() {
        let get = |offset: isize| {
            let at = at.checked_add_signed(offset)?;
            significant.get(at).map(|i| &tokens[*i].token)
        };
        let here = significant[at];
        let change = match word(&tokens[here].token) {
            Some(word) if has_placeholders && word.quote_style.is_none() && is_placeholder(&word.value) => {
                placeholder(&get)
            }
            _ if is_special => special(&get, warehouse),
            _ => Change::Keep,
        };
        match change {
            Change::DropTwo => {
                keep[here] = Change::Drop;
                if let Some(next) = significant.get(at + 1) {
                    keep[*next] = Change::Drop;
                }
            }
            change if keep[here] == Change::Keep => keep[here] = change,
            _ => {}
        }
    }
    let mut out = Vec::with_capacity(tokens.len());
    for (token, change) in tokens.into_iter().zip(keep) {
        let like = |new: Token| TokenWithSpan { token: new, span: token.span };
        match change {
            Change::Keep => out.push(token),
            Change::Drop | Change::DropTwo => {}
            Change::Number => out.push(like(Token::Number("1".into(), false))),
            Change::Operator => out.push(like(Token::Eq)),
            Change::Parentheses => {
                let (open, close) = (like(Token::LParen), like(Token::RParen));
                out.extend([open, token, close]);
            }
        }
    }
    out
}

/// Fate of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Keep,
    Drop,
    /// This one and the next one go.
    DropTwo,
    /// A number stands here.
    Number,
    /// An operator stands here.
    Operator,
    /// In parentheses.
    Parentheses,
}

/// Role of a placeholder, judged by its neighbours.
fn placeholder<'t>(get: &dyn Fn(isize) -> Option<&'t Token>) -> Change {
    let (before, after) = (get(-1), get(1));
    let is_placeholder_token =
        |token: Option<&Token>| token.and_then(word).is_some_and(|word| is_placeholder(&word.value));
    if is_any(before, &["interval", "limit", "offset", "top", "fetch", "first", "next"]) {
        return Change::Number;
    }
    if is_any(before, &["in", "values"]) {
        return Change::Parentheses;
    }
    let starts_statement = before.is_none() || before == Some(&Token::SemiColon);
    if starts_statement
        && (is_any(after, &["select", "with", "insert", "create", "merge", "update", "delete"]))
    {
        // Settings that a macro makes, and prints nothing.
        return Change::Drop;
    }
    if !ends_operand(before) || is_placeholder_token(before) && after == Some(&Token::Period) {
        return Change::Keep;
    }
    if is_any(before, &["from", "join"]) || before == Some(&Token::Period) || after == Some(&Token::Period) {
        return Change::Keep;
    }
    if starts_operand(after) && !matches!(after, Some(Token::LParen)) && !is_placeholder_token(before) {
        return Change::Operator;
    }
    Change::Drop
}

/// Syntax of some dialects that the parser lacks.
fn special<'t>(get: &dyn Fn(isize) -> Option<&'t Token>, warehouse: Warehouse) -> Change {
    let here = get(0);
    match warehouse {
        Warehouse::MySql if is_any(here, &["sql_cache", "sql_no_cache"]) && is(get(-1), "select") => {
            Change::Drop
        }
        // `FROM (SUMMARIZE t)`
        Warehouse::DuckDb
            if is_any(here, &["summarize", "describe"])
                && matches!(get(-1), Some(Token::LParen))
                && get(1).and_then(word).is_some() =>
        {
            Change::Drop
        }
        // `FROM STREAM t`
        Warehouse::Databricks
            if is(here, "stream")
                && is_any(get(-1), &["from", "join"])
                && matches!(get(1), Some(Token::Word(next)) if next.quote_style.is_some()
                    || next.keyword == sqlparser::keywords::Keyword::NoKeyword) =>
        {
            Change::Drop
        }
        // `FROM t@v1`
        Warehouse::Databricks if matches!(here, Some(Token::AtSign)) && get(-1).and_then(word).is_some() => {
            Change::DropTwo
        }
        _ => Change::Keep,
    }
}

/// Tokens without the placeholders that follow an operand. `None` if there are none.
fn without_placeholders(tokens: &[TokenWithSpan]) -> Option<Vec<TokenWithSpan>> {
    let is_mark = |token: &TokenWithSpan| word(&token.token).is_some_and(|w| is_placeholder(&w.value));
    if !tokens.iter().any(is_mark) {
        return None;
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut last: Option<Token> = None;
    for token in tokens {
        if is_mark(token) && ends_operand(last.as_ref()) {
            continue;
        }
        if !matches!(token.token, Token::Whitespace(_)) {
            last = Some(token.token.clone());
        }
        out.push(token.clone());
    }
    Some(out)
}
