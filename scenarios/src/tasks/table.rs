//! What a file may say of each built-in task.

/// A task that files may submit.
#[derive(Debug)]
pub struct Function {
    /// What files call it.
    pub name: &'static str,
    /// What the runtime calls it.
    pub path: &'static str,
    /// What the runtime calls the same for a worker process, if there is one.
    pub process: Option<&'static str>,
    /// Its parameters, in order.
    pub params: &'static [Param],
    /// Whether it yields its results one by one.
    pub streams: bool,
}

/// A parameter of a built-in task.
#[derive(Debug)]
pub struct Param {
    /// The key that gives it, except for values, which are given in `args`.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is when the file does not say.
    pub default: Option<u64>,
}

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number of bytes.
    Bytes,
    /// A number.
    Count,
    /// The number of results asked for.
    Returns,
    /// A number that each of many submissions counts up, so that their results differ.
    Seed,
    /// A time.
    Time,
    /// One argument.
    Value,
    /// All further arguments.
    Values,
}

const fn param(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, default: None }
}

const fn seed() -> Param {
    Param { name: "seed", kind: Kind::Seed, default: Some(0) }
}

const fn bytes() -> Param {
    param("bytes", Kind::Bytes)
}

const ITEMS: Param = param("items", Kind::Count);
const X: Param = param("x", Kind::Value);
const XS: Param = param("xs", Kind::Values);

/// Rows of `name(parameters)`, with `[module]` before those in a module, and behind them `stream` for generators, or
/// `process` for those that are there for worker processes too.
macro_rules! functions {
    (@streams) => { false };
    (@streams stream) => { true };
    (@streams process) => { false };
    (@process $name:ident) => { None };
    (@process $name:ident stream) => { None };
    (@process $name:ident process) => { Some(concat!("mobula_scenarios::tasks::process::", stringify!($name))) };
    ($($([$module:ident])? $name:ident($($param:expr),*) $($kind:ident)?;)*) => {
        &[$(Function {
            name: stringify!($name),
            path: concat!("mobula_scenarios::tasks::", $(stringify!($module), "::",)? stringify!($name)),
            process: functions!(@process $name $($kind)?),
            params: &[$($param),*],
            streams: functions!(@streams $($kind)?),
        }),*]
    };
}

/// All built-in tasks.
pub static FUNCTIONS: &[Function] = functions! {
    produce(bytes(), seed()) process;
    produce_many(bytes(), seed(), param("returns", Kind::Returns));
    [shuffle] scatter(bytes(), seed(), param("returns", Kind::Returns));
    [shuffle] merge(XS);
    [shuffle] in_order(XS);
    produce_slowly(bytes(), seed(), param("time", Kind::Time));
    consume(XS) process;
    chain(X);
    sum(XS);
    hash(X);
    echo(X) process;
    fail(param("times", Kind::Count)) process;
    crash(param("times", Kind::Count)) process;
    crash_inside(param("times", Kind::Count), param("inner_retries", Kind::Count));
    add_and_crash(X, param("times", Kind::Count));
    sleep(param("time", Kind::Time));
    spin(param("cost", Kind::Time)) process;
    tree(param("depth", Kind::Count), param("fanout", Kind::Count));
    nest(X, param("depth", Kind::Count));
    sleep_tree(param("depth", Kind::Count), param("fanout", Kind::Count), param("time", Kind::Time));
    put_inside(bytes(), seed(), Param { name: "refs", kind: Kind::Count, default: Some(1) });
    counter_inside(X, param("name", Kind::Value));
    stream_inside(ITEMS, bytes(), seed(), Param { name: "time", kind: Kind::Time, default: Some(0) });
    read_inside(X);
    read_later(X, param("time", Kind::Time));
    get_briefly(X, param("time", Kind::Time));
    cancel_inside(X);
    free_inside(X);
    random_size(seed());
    nondeterministic(bytes());
    allocate(bytes(), Param { name: "time", kind: Kind::Time, default: Some(0) }) process;
    hoard(bytes(), param("time", Kind::Time));
    generator(ITEMS, bytes(), seed(), Param { name: "time", kind: Kind::Time, default: Some(0) }) stream;
    generator_differs(ITEMS, param("again", Kind::Count), bytes()) stream;
    generator_fails(ITEMS, bytes()) stream;
};

/// The built-in task of this name.
pub fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}
