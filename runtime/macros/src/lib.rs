//! `#[task]`, `#[actor]` and `#[main]`.
//!
//! Functions are registered at compile time and shipped by name plus arguments, never as closures (decision D8), so
//! every binary that takes part in a cluster is the same binary.

mod actor;
mod parameters;
mod task;

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::{ItemFn, parse_macro_input};

/// Makes a function a task.
///
/// `fn total(xs: Tensor<f64>) -> f64` becomes a function of the same name that takes, for each parameter, a value or an
/// `&ObjectRef` of one, and returns a `TaskCall` to submit. The function itself is registered under its full path.
///
/// - `-> Result<T, E>`: an `Err` is the task's own failure; `E` needs `Display`.
/// - `async fn f(context: Context, ...)`: may await; a first parameter of type `Context` is given by the runtime.
/// - a last parameter of type `Rest<T>`: any number of references, given as `&[ObjectRef<T>]`.
/// - `#[task(stream)] fn f(...) -> impl Iterator<Item = T>` (or `Item = Result<T, E>`): a generator. Every item is an
///   object of its own, and is there for the consumer as soon as it is made; a call returns an `ObjectStream`.
/// - `#[task(many)] fn f(...) -> Vec<T>`: every item is an object of its own; the call says how many with
///   `.returns(n)`.
/// - `#[task(process)]`, or `#[task(process, many)]`: a function that runs in a worker process of its node: it may crash,
///   and can be killed. It takes neither a `Context` nor references inside its arguments.
#[proc_macro_attribute]
pub fn task(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let runtime = quote!(::mobula_runtime);
    task::expand(&attributes.into(), function, &runtime).unwrap_or_else(|why| why.to_compile_error()).into()
}

/// [`task`] for programs that know Mobula by its public face alone; `mobula::task` is this one.
#[proc_macro_attribute]
pub fn mobula_task(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let runtime = quote!(::mobula::runtime);
    task::expand(&attributes.into(), function, &runtime).unwrap_or_else(|why| why.to_compile_error()).into()
}

/// Makes a type an actor: goes on its `impl` block.
///
/// - `pub fn new(...) -> Self` (or `-> Result<Self, E>`, or async) is the constructor; `Type::actor(...)` describes an
///   actor made by it.
/// - Every `pub fn` with `&mut self` or `&self` is a method; `async` ones may await. A first parameter of type `Context` is
///   given by the runtime. `-> Result<T, E>`: an `Err` is the call's own failure; the actor lives on.
/// - `#[stream] pub fn f(&mut self, ...) -> impl Iterator<Item = T>` (or `Item = Result<T, E>`): a method that yields. Every
///   item is an object of its own, and is there for the caller as soon as it is made; a call returns an `ObjectStream`.
///   With `&mut self` it has the actor until its last item, and may change it with each; with `&self` other calls that
///   take `&self` may run beside it, if the actor's concurrency allows.
/// - `#[save] fn save(&self) -> State` and `#[restore] fn restore(state: State) -> Self` make its state survive crashes.
/// - Other functions stay what they are.
///
/// Handles are values of type `Actor<Type>`.
#[proc_macro_attribute]
pub fn actor(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let block = parse_macro_input!(item as syn::ItemImpl);
    let runtime = quote!(::mobula_runtime);
    actor::expand(&attributes.into(), block, &runtime).unwrap_or_else(|why| why.to_compile_error()).into()
}

/// [`actor`] for programs that know Mobula by its public face alone; `mobula::actor` is this one.
#[proc_macro_attribute]
pub fn mobula_actor(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let block = parse_macro_input!(item as syn::ItemImpl);
    let runtime = quote!(::mobula::runtime);
    actor::expand(&attributes.into(), block, &runtime).unwrap_or_else(|why| why.to_compile_error()).into()
}

/// Makes an async function of one `Context` the program: driver, node and worker in one binary.
///
/// Started plainly, the program runs an embedded cluster. With `MOBULA_ADDRESS=host:port` it is the driver of that
/// cluster; with the arguments `mobula-node --join host:port --name NAME` it is a node that can run this
/// program's tasks. Nodes start it again as their worker processes.
#[proc_macro_attribute]
pub fn main(_: TokenStream, item: TokenStream) -> TokenStream {
    let mut function = parse_macro_input!(item as ItemFn);
    let visibility = std::mem::replace(&mut function.vis, syn::Visibility::Inherited);
    let name = std::mem::replace(&mut function.sig.ident, format_ident!("driver"));
    quote! {
        #visibility fn #name() -> ::std::process::ExitCode {
            #function
            ::mobula::program(driver)
        }
    }
    .into()
}
