//! Expressions over the columns of a row, and aggregates over groups of rows.
//!
//! An [`Expr`] is plain data: it is planned on the driver, shipped inside a task's specification and lowered to
//! DataFusion's physical expressions where the rows are ([`lower`]). Semantics (nulls, NaN, overflow, division) are
//! those of `SEMANTICS.md`.

mod aggregate;
mod guard;
mod lower;
#[cfg(test)]
mod tests;

pub use aggregate::{AggFunction, Aggregate, IntoArgument, count, count_if, count_of, max, mean, min, stddev, sum};
pub(crate) use lower::{cast_array, evaluate, lower, type_of};

use arrow_schema::DataType;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An expression over the columns of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expr {
    /// The value of a column.
    Column(String),
    /// A constant.
    Literal(Literal),
    /// Two expressions and an operator.
    Binary {
        /// Left operand.
        left: Box<Expr>,
        /// Operator.
        op: BinaryOp,
        /// Right operand.
        right: Box<Expr>,
    },
    /// Three-valued negation.
    Not(Box<Expr>),
    /// True where the operand is null; never null itself.
    IsNull(Box<Expr>),
    /// True where the operand is not null; never null itself.
    IsNotNull(Box<Expr>),
    /// The operand converted to another type; an impossible conversion is an error, not a null.
    Cast(Box<Expr>, DataType),
    /// The operand under another name.
    Alias(Box<Expr>, String),
}

/// A constant in an expression. Integers are 64-bit, floats double precision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    /// The null of every type.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Text(String),
}

/// What combines two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BinaryOp {
    /// Sum; integer overflow is an error.
    Add,
    /// Difference; integer overflow is an error.
    Subtract,
    /// Product; integer overflow is an error.
    Multiply,
    /// True division: the result is a float. An integer divided by integer zero is an error.
    Divide,
    /// Equal.
    Eq,
    /// Not equal.
    NotEq,
    /// Less than.
    Lt,
    /// Less than or equal.
    LtEq,
    /// Greater than.
    Gt,
    /// Greater than or equal.
    GtEq,
    /// Three-valued (Kleene) conjunction.
    And,
    /// Three-valued (Kleene) disjunction.
    Or,
}

/// The column called `name`.
pub fn col(name: impl Into<String>) -> Expr {
    Expr::Column(name.into())
}

/// A constant.
pub fn lit(value: impl Into<Literal>) -> Expr {
    Expr::Literal(value.into())
}

macro_rules! comparison {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        impl Expr {$(
            $(#[$doc])*
            pub fn $name(self, other: impl Into<Expr>) -> Expr {
                Expr::Binary { left: Box::new(self), op: BinaryOp::$op, right: Box::new(other.into()) }
            }
        )*}
    };
}
comparison! {
    /// `self = other`; null if either is null.
    eq => Eq;
    /// `self != other`; null if either is null.
    not_eq => NotEq;
    /// `self < other`; null if either is null.
    lt => Lt;
    /// `self <= other`; null if either is null.
    lt_eq => LtEq;
    /// `self > other`; null if either is null.
    gt => Gt;
    /// `self >= other`; null if either is null.
    gt_eq => GtEq;
    /// Both (Kleene logic: false and null is false).
    and => And;
    /// Either (Kleene logic: true or null is true).
    or => Or;
}

impl Expr {
    /// True where this is null.
    pub fn is_null(self) -> Expr {
        Expr::IsNull(Box::new(self))
    }

    /// True where this is not null.
    pub fn is_not_null(self) -> Expr {
        Expr::IsNotNull(Box::new(self))
    }

    /// This, converted to `to`. A value that cannot be converted is an error.
    pub fn cast(self, to: DataType) -> Expr {
        Expr::Cast(Box::new(self), to)
    }

    /// This, under another name.
    pub fn alias(self, name: impl Into<String>) -> Expr {
        Expr::Alias(Box::new(self), name.into())
    }

    /// The name of the column this makes: its alias, its column, or its text.
    pub fn name(&self) -> String {
        match self {
            Expr::Column(name) | Expr::Alias(_, name) => name.clone(),
            other => other.to_string(),
        }
    }

    /// Calls `visit` with every column name, in the order of the text.
    pub(crate) fn columns(&self, visit: &mut impl FnMut(&str)) {
        match self {
            Expr::Column(name) => visit(name),
            Expr::Literal(_) => {}
            Expr::Binary { left, right, .. } => {
                left.columns(visit);
                right.columns(visit);
            }
            Expr::Not(e) | Expr::IsNull(e) | Expr::IsNotNull(e) | Expr::Cast(e, _) | Expr::Alias(e, _) => {
                e.columns(visit)
            }
        }
    }
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident $op:ident;)*) => {$(
        impl<E: Into<Expr>> std::ops::$trait<E> for Expr {
            type Output = Expr;
            fn $method(self, other: E) -> Expr {
                Expr::Binary { left: Box::new(self), op: BinaryOp::$op, right: Box::new(other.into()) }
            }
        }
    )*};
}
arithmetic! { Add add Add; Sub sub Subtract; Mul mul Multiply; Div div Divide; }

impl std::ops::Not for Expr {
    type Output = Expr;
    fn not(self) -> Expr {
        Expr::Not(Box::new(self))
    }
}

macro_rules! literal {
    ($($from:ty => $variant:ident;)*) => {$(
        impl From<$from> for Literal {
            fn from(value: $from) -> Self {
                Literal::$variant(value.into())
            }
        }
        impl From<$from> for Expr {
            /// A constant operand.
            fn from(value: $from) -> Self {
                lit(value)
            }
        }
    )*};
}
literal! { bool => Bool; i64 => Int; i32 => Int; f64 => Float; }

impl From<&str> for Literal {
    fn from(value: &str) -> Self {
        Literal::Text(value.into())
    }
}

impl From<&str> for Expr {
    /// A constant operand, not a column: `col("carrier").eq("UA")`.
    fn from(value: &str) -> Self {
        lit(value)
    }
}

impl From<String> for Literal {
    fn from(value: String) -> Self {
        Literal::Text(value)
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Null => f.write_str("null"),
            Literal::Bool(b) => write!(f, "{b}"),
            Literal::Int(i) => write!(f, "{i}"),
            Literal::Float(x) => write!(f, "{x:?}"),
            Literal::Text(s) => write!(f, "{s:?}"),
        }
    }
}

impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BinaryOp::Add => "+",
            BinaryOp::Subtract => "-",
            BinaryOp::Multiply => "*",
            BinaryOp::Divide => "/",
            BinaryOp::Eq => "=",
            BinaryOp::NotEq => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::LtEq => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::GtEq => ">=",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
        })
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// An operand, in parentheses if it is itself a binary expression.
        fn operand(e: &Expr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            if matches!(e, Expr::Binary { .. }) { write!(f, "({e})") } else { write!(f, "{e}") }
        }
        match self {
            Expr::Column(name) => f.write_str(name),
            Expr::Literal(value) => write!(f, "{value}"),
            Expr::Binary { left, op, right } => {
                operand(left, f)?;
                write!(f, " {op} ")?;
                operand(right, f)
            }
            Expr::Not(e) => {
                f.write_str("not ")?;
                operand(e, f)
            }
            Expr::IsNull(e) => {
                operand(e, f)?;
                f.write_str(" is null")
            }
            Expr::IsNotNull(e) => {
                operand(e, f)?;
                f.write_str(" is not null")
            }
            Expr::Cast(e, to) => write!(f, "cast({e} as {to})"),
            Expr::Alias(e, name) => write!(f, "{e} as {name}"),
        }
    }
}
