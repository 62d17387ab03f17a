//! Cutting an expression into words.

use std::fmt;

/// A word of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A keyword or a column.
    Word(String),
    /// A column in backticks.
    Column(String),
    Int(i64),
    Float(f64),
    Text(String),
    Symbol(&'static str),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Column(name) => write!(f, "column `{name}`"),
            Self::Int(number) => write!(f, "`{number}`"),
            Self::Float(number) => write!(f, "`{number}`"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Symbol(symbol) => write!(f, "`{symbol}`"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// Longer symbols first.
const SYMBOLS: [&str; 14] = ["<=", ">=", "!=", "<>", "==", "<", ">", "=", "+", "-", "*", "/", "(", ")"];

/// The words of a text with their columns, in characters from 1; or where it goes wrong, and how.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, (usize, String)> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = chars.get(at).copied() {
        let column = at + 1;
        let token = match first {
            _ if first.is_whitespace() => {
                at += 1;
                continue;
            }
            '\'' | '"' | '`' => {
                let rest = &chars[at + 1..];
                let Some(length) = rest.iter().position(|c| *c == first) else {
                    return Err((column, format!("the closing {first} is missing")));
                };
                let inside: String = rest[..length].iter().collect();
                at += length + 2;
                if first == '`' { Token::Column(inside) } else { Token::Text(inside) }
            }
            _ if first.is_ascii_digit() => {
                let word = take(&chars, &mut at, |c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
                number(&word.replace('_', "")).ok_or_else(|| (column, format!("`{word}` is no number")))?
            }
            _ if first.is_alphabetic() || first == '_' => {
                Token::Word(take(&chars, &mut at, |c| c.is_alphanumeric() || c == '_'))
            }
            _ => {
                let rest: String = chars[at..].iter().take(2).collect();
                let symbol = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol));
                let symbol = symbol.ok_or_else(|| (column, format!("`{first}` has no meaning here")))?;
                at += symbol.len();
                Token::Symbol(symbol)
            }
        };
        tokens.push((column, token));
    }
    Ok(tokens)
}

fn take(chars: &[char], at: &mut usize, belongs: impl Fn(char) -> bool) -> String {
    let word: String = chars[*at..].iter().take_while(|c| belongs(**c)).collect();
    *at += word.chars().count();
    word
}

fn number(word: &str) -> Option<Token> {
    match word.parse() {
        Ok(number) => Some(Token::Int(number)),
        Err(_) => word.parse().ok().filter(|n: &f64| n.is_finite()).map(Token::Float),
    }
}
