//! A lexer for as much of Rust as the rules need.
//!
//! Owns telling names and marks from comments, literals and code under `#[cfg(test)]`. Must never
//! know what a name means.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Name,
    Mark,
    Text,
    Other,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub kind: Kind,
    pub text: String,
    pub line: usize,
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        self.kind != Kind::Text && self.text == text
    }
}

pub fn lex(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut i, mut line) = (0, 1);
    let mut tokens = Vec::new();
    while i < chars.len() {
        let (kind, end) = next_token(&chars, i);
        if let Some(kind) = kind {
            tokens.push(Token { kind, text: chars[i..end].iter().collect(), line });
        }
        line += chars[i..end].iter().filter(|c| **c == '\n').count();
        i = end;
    }
    tokens
}

/// The token at `i` (none for space and comments) and the index behind it.
fn next_token(chars: &[char], i: usize) -> (Option<Kind>, usize) {
    let at = |n: usize| chars.get(i + n).copied().unwrap_or('\0');
    match at(0) {
        c if c.is_whitespace() => (None, i + 1),
        '/' if at(1) == '/' => (None, find(chars, i, |c| c == '\n')),
        '/' if at(1) == '*' => (None, block_comment_end(chars, i)),
        '"' => (Some(Kind::Text), text_end(chars, i + 1)),
        '\'' if at(1) == '\\' => (Some(Kind::Other), find(chars, i + 3, |c| c == '\'') + 1),
        '\'' if at(2) == '\'' => (Some(Kind::Other), i + 3),
        '\'' => (Some(Kind::Other), find(chars, i + 1, |c| !is_word(c))),
        ':' if at(1) == ':' => (Some(Kind::Mark), i + 2),
        c if c.is_ascii_digit() => (Some(Kind::Other), find(chars, i, |c| !is_word(c))),
        c if is_word(c) => word(chars, i),
        _ => (Some(Kind::Mark), i + 1),
    }
}

/// A name, or one of the literals that begin like one: `r"…"`, `r#"…"#`, `b"…"`, `b'…'`, `br"…"`.
fn word(chars: &[char], i: usize) -> (Option<Kind>, usize) {
    let end = find(chars, i, |c| !is_word(c));
    let prefix: String = chars[i..end].iter().collect();
    let next = chars.get(end).copied().unwrap_or('\0');
    match (prefix.as_str(), next) {
        ("b" | "c", '"') => (Some(Kind::Text), text_end(chars, end + 1)),
        ("b", '\'') => {
            let escaped = chars.get(end + 1) == Some(&'\\');
            (Some(Kind::Other), find(chars, end + if escaped { 3 } else { 2 }, |c| c == '\'') + 1)
        }
        ("r" | "br" | "cr", '"' | '#') => {
            let quote = find(chars, end, |c| c != '#');
            if chars.get(quote) != Some(&'"') {
                return (Some(Kind::Name), find(chars, quote, |c| !is_word(c)));
            }
            (Some(Kind::Text), raw_text_end(chars, quote + 1, quote - end))
        }
        _ => (Some(Kind::Name), end),
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    let rest = chars.get(from..).unwrap_or_default();
    rest.iter().position(|c| wanted(*c)).map_or(chars.len(), |n| from + n)
}

fn text_end(chars: &[char], mut i: usize) -> usize {
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

fn raw_text_end(chars: &[char], mut i: usize, hashes: usize) -> usize {
    while i < chars.len() {
        let closed = chars[i] == '"'
            && chars.get(i + 1..=i + hashes).is_some_and(|tail| tail.iter().all(|c| *c == '#'));
        if closed {
            return i + 1 + hashes;
        }
        i += 1;
    }
    chars.len()
}

fn block_comment_end(chars: &[char], mut i: usize) -> usize {
    let mut open = 0_usize;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (open, i) = (open + 1, i + 2),
            ('*', Some('/')) => (open, i) = (open.saturating_sub(1), i + 2),
            _ => i += 1,
        }
        if open == 0 {
            break;
        }
    }
    i
}

/// The tokens without items under `#[cfg(test)]` or `#[cfg(all(test, …))]`.
pub fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        if is_test_attribute(&tokens[i..]) {
            i = item_end(tokens, i);
        } else {
            kept.push(tokens[i].clone());
            i += 1;
        }
    }
    kept
}

fn is_test_attribute(tokens: &[Token]) -> bool {
    let starts = |words: &[&str]| {
        tokens.len() >= words.len() && words.iter().zip(tokens).all(|(w, t)| t.is(w))
    };
    starts(&["#", "[", "cfg", "(", "test", ")"])
        || starts(&["#", "[", "cfg", "(", "all", "(", "test"])
        || starts(&["#", "[", "test", "]"])
}

/// The index behind the item whose attributes begin at `i`.
fn item_end(tokens: &[Token], mut i: usize) -> usize {
    while tokens.get(i).is_some_and(|t| t.is("#")) {
        i = closing(tokens, i + 1);
    }
    let import = tokens.get(i).is_some_and(|t| t.is("use"));
    let field = tokens.get(i + 1).is_some_and(|t| t.is(":"));
    while let Some(token) = tokens.get(i) {
        match token.text.as_str() {
            ";" if token.kind == Kind::Mark => return i + 1,
            "," if field => return i + 1,
            "}" if token.kind == Kind::Mark => return i,
            "{" if token.kind == Kind::Mark && !import => return closing(tokens, i),
            "(" | "[" | "{" if token.kind == Kind::Mark => i = closing(tokens, i),
            _ => i += 1,
        }
    }
    tokens.len()
}

/// The index behind the bracket that closes the one at `i`.
fn closing(tokens: &[Token], mut i: usize) -> usize {
    let mut open = 0_usize;
    while let Some(token) = tokens.get(i) {
        i += 1;
        if token.kind != Kind::Mark {
            continue;
        }
        match token.text.as_str() {
            "(" | "[" | "{" => open += 1,
            ")" | "]" | "}" => open = open.saturating_sub(1),
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    i
}
