//! Expressions over columns, as files write them: `arr_delay is not null and distance * 2 >= 100`.
//!
//! Precedence climbing (Richards 1979; Norvell): `or` binds least, then `and`, `not`, comparisons and `is [not] null`,
//! `+ -`, `* /`, and unary minus most. Text is in single or double quotes, columns are plain names or in backticks.

mod token;

use mobula_data::{AggFunction, Aggregate, BinaryOp, Expr, Literal, col, lit};
use token::{Token, tokens};

/// An aggregate as the file gives it; its column's name is the key it stands under.
#[derive(Clone, Debug, PartialEq)]
pub struct AggText {
    /// The function.
    pub function: AggFunction,
    /// Its argument; none for `count()`.
    pub argument: Option<Expr>,
}

impl AggText {
    /// The aggregate, under a name.
    pub fn named(&self, name: &str) -> Aggregate {
        Aggregate { function: self.function, argument: self.argument.clone(), name: name.to_owned() }
    }
}

/// Text that is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("in the expression `{text}`, column {column}: {message}")]
pub struct Problem {
    /// The whole text.
    pub text: String,
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Reads an expression.
///
/// # Errors
/// The first thing that does not belong there.
pub fn expression(text: &str) -> Result<Expr, Problem> {
    let mut parser = Parser::new(text)?;
    let expr = parser.binary(0)?;
    parser.end()?;
    Ok(expr)
}

const AGGREGATES: [(&str, AggFunction); 7] = [
    ("count", AggFunction::CountOf),
    ("count_if", AggFunction::CountIf),
    ("sum", AggFunction::Sum),
    ("mean", AggFunction::Mean),
    ("min", AggFunction::Min),
    ("max", AggFunction::Max),
    ("stddev", AggFunction::Stddev),
];

/// Reads an aggregate: a function of one expression, or `count()`.
///
/// # Errors
/// As [`expression`], and an unknown function.
pub fn aggregate(text: &str) -> Result<AggText, Problem> {
    let mut parser = Parser::new(text)?;
    let name = match parser.next() {
        Token::Word(name) => name,
        other => return Err(parser.wrong(&other, "an aggregate such as `mean(x)`")),
    };
    let known = AGGREGATES.iter().find(|(known, _)| *known == name);
    let Some((_, function)) = known else {
        let hint = crate::file::hint(&name, AGGREGATES.iter().map(|(name, _)| *name));
        return Err(parser.problem(1, format!("unknown aggregate `{name}`{hint}")));
    };
    parser.symbol("(")?;
    let call = if *function == AggFunction::CountOf && parser.peek() == &Token::Symbol(")") {
        AggText { function: AggFunction::Count, argument: None }
    } else {
        AggText { function: *function, argument: Some(parser.binary(0)?) }
    };
    parser.symbol(")")?;
    parser.end()?;
    Ok(call)
}

/// Binary operators: how they are written, what they are, how strongly they bind.
const BINARY: [(&str, BinaryOp, u8); 15] = [
    ("or", BinaryOp::Or, 1),
    ("and", BinaryOp::And, 2),
    ("=", BinaryOp::Eq, 4),
    ("==", BinaryOp::Eq, 4),
    ("!=", BinaryOp::NotEq, 4),
    ("<>", BinaryOp::NotEq, 4),
    ("<=", BinaryOp::LtEq, 4),
    (">=", BinaryOp::GtEq, 4),
    ("<", BinaryOp::Lt, 4),
    (">", BinaryOp::Gt, 4),
    ("+", BinaryOp::Add, 5),
    ("-", BinaryOp::Subtract, 5),
    ("*", BinaryOp::Multiply, 6),
    ("/", BinaryOp::Divide, 6),
    // Not binary, but it stands where a comparison stands.
    ("is", BinaryOp::Eq, 4),
];

const NOT: u8 = 3;
const NEGATION: u8 = 7;

/// Deeper nesting than this is refused, so that no text can exhaust the stack.
const DEEPEST: usize = 100;

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, Problem> {
        let tokens = tokens(text);
        let tokens = tokens.map_err(|(column, message)| Problem { text: text.to_owned(), column, message })?;
        Ok(Self { text, tokens, at: 0, depth: 0 })
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(_, token)| token)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn problem(&self, column: usize, message: impl Into<String>) -> Problem {
        Problem { text: self.text.to_owned(), column, message: message.into() }
    }

    /// The token taken last is not what belongs there.
    fn wrong(&self, found: &Token, wanted: &str) -> Problem {
        let end = self.text.chars().count() + 1;
        let column = self.tokens.get(self.at.saturating_sub(1)).map_or(end, |(column, _)| *column);
        self.problem(column, format!("expected {wanted}, found {found}"))
    }

    fn symbol(&mut self, symbol: &'static str) -> Result<(), Problem> {
        match self.next() {
            Token::Symbol(found) if found == symbol => Ok(()),
            other => Err(self.wrong(&other, &format!("`{symbol}`"))),
        }
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(found) if found == word);
        self.at += usize::from(found);
        found
    }

    fn end(&mut self) -> Result<(), Problem> {
        match self.next() {
            Token::End => Ok(()),
            other => Err(self.wrong(&other, "an operator or the end")),
        }
    }

    /// Operands joined by operators that bind at least as strongly as `least`.
    fn binary(&mut self, least: u8) -> Result<Expr, Problem> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.problem(1, "it is nested too deeply"));
        }
        let mut left = self.unary()?;
        while let Some((word, op, strength)) = self.operator().filter(|(.., strength)| *strength >= least) {
            self.at += 1;
            left = if word == "is" {
                let negated = self.keyword("not");
                if !self.keyword("null") {
                    let found = self.next();
                    return Err(self.wrong(&found, "`null` or `not null`"));
                }
                if negated { left.is_not_null() } else { left.is_null() }
            } else {
                let right = self.binary(strength + 1)?;
                Expr::Binary { left: Box::new(left), op, right: Box::new(right) }
            };
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operator(&self) -> Option<(&'static str, BinaryOp, u8)> {
        let word = match self.peek() {
            Token::Symbol(symbol) => symbol,
            Token::Word(word) => word.as_str(),
            _ => return None,
        };
        BINARY.iter().find(|(operator, ..)| *operator == word).copied()
    }

    fn unary(&mut self) -> Result<Expr, Problem> {
        match self.next() {
            Token::Word(word) if word == "not" => Ok(Expr::Not(Box::new(self.binary(NOT)?))),
            Token::Symbol("-") => match self.binary(NEGATION)? {
                Expr::Literal(Literal::Int(number)) => Ok(lit(-number)),
                Expr::Literal(Literal::Float(number)) => Ok(lit(-number)),
                other => Ok(lit(0_i64) - other),
            },
            Token::Symbol("(") => {
                let inner = self.binary(0)?;
                self.symbol(")")?;
                Ok(inner)
            }
            Token::Int(number) => Ok(lit(number)),
            Token::Float(number) => Ok(lit(number)),
            Token::Text(text) => Ok(lit(text)),
            Token::Word(word) => match word.as_str() {
                "null" => Ok(Expr::Literal(Literal::Null)),
                "true" => Ok(lit(true)),
                "false" => Ok(lit(false)),
                "and" | "or" | "is" => Err(self.wrong(&Token::Word(word), "an operand")),
                _ if self.peek() == &Token::Symbol("(") => {
                    let message = format!("`{word}` is no function here; aggregates belong into `agg`");
                    Err(self.problem(self.tokens[self.at - 1].0, message))
                }
                name => Ok(col(name)),
            },
            Token::Column(name) => Ok(col(name)),
            other => Err(self.wrong(&other, "an operand")),
        }
    }
}

#[cfg(test)]
mod tests;
