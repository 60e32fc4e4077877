//! Tokens of Jinja's expressions.

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// A name or keyword.
    Name(&'a str),
    /// A number.
    Number(&'a str),
    /// With its quotes.
    Text(&'a str),
    /// An operator or delimiter.
    Sign(&'a str),
}

impl<'a> Token<'a> {
    /// Text.
    pub fn text(self) -> &'a str {
        match self {
            Self::Name(text) | Self::Number(text) | Self::Text(text) | Self::Sign(text) => text,
        }
    }
}

/// The tokens of an expression.
///
/// # Errors
/// If it has what no expression has.
pub fn lex(text: &str) -> Result<Vec<Token<'_>>, String> {
    Ok(lex_spans(text)?.into_iter().map(|(_, token)| token).collect())
}

/// The tokens of an expression, with where they begin.
pub fn lex_spans(text: &str) -> Result<Vec<(usize, Token<'_>)>, String> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let end_where =
            |is: &dyn Fn(char) -> bool| text[at..].find(|c| !is(c)).map_or(text.len(), |n| at + n);
        let end = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '\'' | '"' => {
                let mut end = at + 1;
                while end < bytes.len() && bytes[end] != c as u8 {
                    end += if bytes[end] == b'\\' { 2 } else { 1 };
                }
                if end >= bytes.len() {
                    return Err("a string that isn't closed".into());
                }
                tokens.push((at, Token::Text(&text[at..=end])));
                at = end + 1;
                continue;
            }
            c if c.is_ascii_digit() => {
                let end = end_where(&|c| c.is_ascii_digit() || c == '_');
                // `1.5`, and not `1.x`.
                match bytes.get(end) {
                    Some(b'.') if bytes.get(end + 1).is_some_and(u8::is_ascii_digit) => text[end + 1..]
                        .find(|c: char| !c.is_ascii_digit())
                        .map_or(text.len(), |n| end + 1 + n),
                    _ => end,
                }
            }
            c if c.is_alphabetic() || c == '_' => end_where(&|c| c.is_alphanumeric() || c == '_'),
            _ => {
                let two = text.get(at..at + 2).unwrap_or_default();
                let is_two = ["==", "!=", "<=", ">=", "//", "**"].contains(&two);
                if !is_two && !"+-*/%~<>=|.,:()[]{}".contains(c) {
                    return Err(format!("the sign {c:?}"));
                }
                at + if is_two { 2 } else { c.len_utf8() }
            }
        };
        let token = &text[at..end];
        tokens.push((
            at,
            match c {
                c if c.is_ascii_digit() => Token::Number(token),
                c if c.is_alphabetic() || c == '_' => Token::Name(token),
                _ => Token::Sign(token),
            },
        ));
        at = end;
    }
    Ok(tokens)
}
