//! `#[task]`, `#[actor]` and `#[main]`.
//!
//! Functions are registered at compile time and shipped by name plus arguments, never as closures (decision D9), so
//! every binary that takes part in a cluster is the same binary.

mod actor;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{FnArg, GenericArgument, Ident, ItemFn, PathArguments, ReturnType, Type, parse_macro_input};

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
#[proc_macro_attribute]
pub fn task(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let runtime = quote!(::mobula_runtime);
    expand_task(attributes.into(), function, &runtime).unwrap_or_else(|why| why.to_compile_error()).into()
}

/// [`task`] for programs that know Mobula by its public face alone; `mobula::task` is this one.
#[proc_macro_attribute]
pub fn mobula_task(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let runtime = quote!(::mobula::runtime);
    expand_task(attributes.into(), function, &runtime).unwrap_or_else(|why| why.to_compile_error()).into()
}

/// Makes a type an actor: goes on its `impl` block.
///
/// - `pub fn new(...) -> Self` (or `-> Result<Self, E>`, or async) is the constructor; `Type::actor(...)` describes an
///   actor made by it.
/// - Every `pub fn` with `&mut self` or `&self` is a method; `async` ones may await. A first parameter of type `Context` is
///   given by the runtime. `-> Result<T, E>`: an `Err` is the call's own failure; the actor lives on.
/// - `#[save] fn save(&self) -> State` and `#[restore] fn restore(state: State) -> Self` make its state survive crashes.
/// - Other functions stay what they are.
///
/// Handles are values of type `Actor<Type>`.
#[proc_macro_attribute]
pub fn actor(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let block = parse_macro_input!(item as syn::ItemImpl);
    let runtime = quote!(::mobula_runtime);
    actor::expand(attributes.into(), block, &runtime).unwrap_or_else(|why| why.to_compile_error()).into()
}

/// [`actor`] for programs that know Mobula by its public face alone; `mobula::actor` is this one.
#[proc_macro_attribute]
pub fn mobula_actor(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let block = parse_macro_input!(item as syn::ItemImpl);
    let runtime = quote!(::mobula::runtime);
    actor::expand(attributes.into(), block, &runtime).unwrap_or_else(|why| why.to_compile_error()).into()
}

/// Makes an async function of one `Context` the program: driver, node and worker in one binary.
///
/// Started plainly, the program runs an embedded cluster. With `MOBULA_ADDRESS=host:port` it is the driver of that
/// cluster; with the arguments `mobula-node --join host:port` it is a node that can run this program's tasks.
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

/// What a parameter is to the caller.
enum Parameter {
    Context,
    Value(Ident, Box<Type>),
    Rest(Ident, Box<Type>),
}

fn expand_task(attributes: Tokens, function: ItemFn, runtime: &Tokens) -> syn::Result<Tokens> {
    let (many, stream) = match attributes.to_string().as_str() {
        "" => (false, false),
        "many" => (true, false),
        "stream" => (false, true),
        other => {
            let message = format!("`{other}` is no option; there are `many` and `stream`");
            return Err(syn::Error::new_spanned(&attributes, message));
        }
    };
    let ItemFn { attrs, vis, sig, block } = function;
    let (name, inner) = (&sig.ident, format_ident!("run"));
    let parameters = sig.inputs.iter().map(parameter).collect::<syn::Result<Vec<_>>>()?;
    let returned = match &sig.output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, returned) => (**returned).clone(),
    };
    let returned = if stream { yielded(&sig)? } else { returned };
    let (value, fails) = match first_argument(&returned, "Result") {
        Some(value) => (value, true),
        None => (returned, false),
    };
    let result = match (many, first_argument(&value, "Vec")) {
        (false, _) if stream => quote!(#runtime::macros::Streamed<#value>),
        (false, _) => quote!(#runtime::macros::One<#value>),
        (true, Some(item)) => quote!(#runtime::macros::Many<#item>),
        (true, None) => return Err(syn::Error::new_spanned(&value, "a task with many results returns a Vec of them")),
    };

    let mut asked = Vec::new();
    let mut added = Vec::new();
    let mut passed = Vec::new();
    let mut position = 0_usize;
    for (index, parameter) in parameters.iter().enumerate() {
        match parameter {
            Parameter::Context if index == 0 => passed.push(quote!(input.context().clone())),
            Parameter::Context => return Err(syn::Error::new_spanned(&sig.inputs[index], "the context comes first")),
            Parameter::Value(name, kind) => {
                asked.push(quote!(#name: impl #runtime::IntoArg<#kind>));
                added.push(quote!(.arg::<#kind>(#name)));
                passed.push(quote!(input.arg::<#kind>(#position)?));
                position += 1;
            }
            Parameter::Rest(name, item) => {
                if index + 1 != parameters.len() {
                    return Err(syn::Error::new_spanned(&sig.inputs[index], "the rest comes last"));
                }
                asked.push(quote!(#name: &[#runtime::ObjectRef<#item>]));
                added.push(quote!(.rest::<#item>(#name)));
                passed.push(quote!(input.rest::<#item>(#position)?));
            }
        }
    }

    let awaited = sig.asyncness.map(|_| quote!(.await));
    let unwrapped = fails.then(|| quote!(.map_err(#runtime::macros::raised)?));
    let outputs = if many {
        quote!(value.iter().map(|item| #runtime::macros::output_of(input.context(), item)).collect())
    } else {
        quote!(#runtime::macros::output_of(input.context(), &value).map(|output| ::std::vec![output]))
    };
    let work = quote! {
        let value = #inner(#(#passed),*) #awaited #unwrapped;
        #outputs
    };
    let (inputs, output, asyncness) = (&sig.inputs, &sig.output, &sig.asyncness);
    let body = if stream {
        let item = if fails { quote!(item.map_err(#runtime::macros::raised)?) } else { quote!(item) };
        quote! {
            #runtime::macros::Body::Stream(|input| {
                let context = input.context().clone();
                let items = #inner(#(#passed),*).map(move |item| #runtime::macros::output_of(&context, &#item));
                ::std::result::Result::Ok(::std::boxed::Box::new(items) as #runtime::macros::Items)
            })
        }
    } else if asyncness.is_some() {
        quote! {
            #runtime::macros::Body::Async(|input| ::std::boxed::Box::pin(async move { #work }))
        }
    } else {
        quote!(#runtime::macros::Body::Sync(|input| { #work }))
    };
    let docs: Vec<_> = attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).collect();
    let others: Vec<_> = attrs.iter().filter(|attribute| !attribute.path().is_ident("doc")).collect();
    Ok(quote! {
        #(#docs)*
        #vis fn #name(#(#asked),*) -> #runtime::macros::TaskCall<#result> {
            #(#others)*
            #asyncness fn #inner(#inputs) #output #block
            #runtime::macros::inventory::submit! {
                #runtime::macros::TaskFunction {
                    name: ::std::concat!(::std::module_path!(), "::", ::std::stringify!(#name)),
                    body: #body,
                }
            }
            #runtime::macros::TaskCall::new(::std::concat!(::std::module_path!(), "::", ::std::stringify!(#name)))
            #(#added)*
        }
    })
}

fn parameter(input: &FnArg) -> syn::Result<Parameter> {
    let FnArg::Typed(typed) = input else {
        return Err(syn::Error::new_spanned(input, "a task is a plain function, without self"));
    };
    let syn::Pat::Ident(pattern) = &*typed.pat else {
        return Err(syn::Error::new_spanned(&typed.pat, "a task's parameter is a plain name"));
    };
    let name = pattern.ident.clone();
    if is_named(&typed.ty, "Context") {
        return Ok(Parameter::Context);
    }
    Ok(match first_argument(&typed.ty, "Rest") {
        Some(item) => Parameter::Rest(name, Box::new(item)),
        None => Parameter::Value(name, typed.ty.clone()),
    })
}

fn is_named(kind: &Type, name: &str) -> bool {
    matches!(kind, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == name))
}

/// The `T` of `impl Iterator<Item = T>`, which a generator returns.
fn yielded(sig: &syn::Signature) -> syn::Result<Type> {
    if let Some(asyncness) = sig.asyncness {
        return Err(syn::Error::new_spanned(
            asyncness,
            "a generator is no async function: it yields and does not await",
        ));
    }
    let wrong = || syn::Error::new_spanned(&sig.output, "a generator returns `impl Iterator<Item = T>`");
    let ReturnType::Type(_, returned) = &sig.output else { return Err(wrong()) };
    let Type::ImplTrait(returned) = &**returned else { return Err(wrong()) };
    let traits = returned.bounds.iter().filter_map(|bound| match bound {
        syn::TypeParamBound::Trait(bound) => bound.path.segments.last(),
        _ => None,
    });
    let arguments = traits.filter(|segment| segment.ident == "Iterator").find_map(|segment| match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(arguments),
        _ => None,
    });
    let item = arguments.into_iter().flat_map(|arguments| &arguments.args).find_map(|argument| match argument {
        GenericArgument::AssocType(assoc) if assoc.ident == "Item" => Some(assoc.ty.clone()),
        _ => None,
    });
    item.ok_or_else(wrong)
}

/// The `T` of `name<T, ...>`.
fn first_argument(kind: &Type, name: &str) -> Option<Type> {
    let Type::Path(path) = kind else { return None };
    let segment = path.path.segments.last().filter(|segment| segment.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(kind) => Some(kind.clone()),
        _ => None,
    })
}
