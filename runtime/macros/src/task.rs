//! `#[task]` on a function.

use crate::parameters::{Parameters, fallible, first_argument, is_named, returned, yielded};
use proc_macro2::{Ident, TokenStream as Tokens};
use quote::quote;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Attribute, FnArg, ItemFn, Signature, Token, Type};

/// How many objects a call makes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Results {
    One,
    Many,
    Stream,
}

/// What stands in the parentheses of `#[task(...)]`.
struct Options {
    results: Results,
    /// Whether it runs in a worker process.
    process: bool,
}

impl Options {
    fn asked_for(attributes: &Tokens) -> syn::Result<Self> {
        let words = Punctuated::<Ident, Token![,]>::parse_terminated.parse2(attributes.clone())?;
        let mut options = Self { results: Results::One, process: false };
        for word in &words {
            match word.to_string().as_str() {
                "many" if options.results == Results::One => options.results = Results::Many,
                "stream" if options.results == Results::One => options.results = Results::Stream,
                "process" if !options.process => options.process = true,
                other => {
                    let message = format!("`{other}` is no option here; there are `many` or `stream`, and `process`");
                    return Err(syn::Error::new_spanned(word, message));
                }
            }
        }
        if options.process && options.results == Results::Stream {
            let message = "a generator cannot run in a process: its consumer decides how far it goes";
            return Err(syn::Error::new_spanned(&words, message));
        }
        Ok(options)
    }
}

/// Refuses what a function in a worker process cannot be, or take.
fn fit_for_a_process(sig: &Signature) -> syn::Result<()> {
    if let Some(asyncness) = &sig.asyncness {
        let message = "a `#[task(process)]` is no async function: its process is no node, and has nothing to await";
        return Err(syn::Error::new_spanned(asyncness, message));
    }
    for input in &sig.inputs {
        let FnArg::Typed(typed) = input else { continue };
        let message = if is_named(&typed.ty, "Context") {
            "a `#[task(process)]` takes no `Context`: its process is no node, and cannot submit, get or put"
        } else if is_named(&typed.ty, "ObjectRef") || is_named(&typed.ty, "Actor") {
            "a `#[task(process)]` takes values, not references or handles: its process is no node, and cannot follow them"
        } else {
            continue;
        };
        return Err(syn::Error::new_spanned(input, message));
    }
    Ok(())
}

/// What a function gives.
struct Given {
    results: Results,
    /// Type of its value; of a generator, of an item.
    value: Type,
    /// Whether that can be an error instead.
    fails: bool,
    process: bool,
}

impl Given {
    fn by(sig: &Signature, Options { results, process }: Options) -> syn::Result<Self> {
        if process {
            fit_for_a_process(sig)?;
        }
        let kind = if results == Results::Stream { yielded(sig)? } else { returned(&sig.output) };
        let (value, fails) = fallible(kind);
        Ok(Self { results, value, fails, process })
    }

    /// What a call of the task promises.
    fn promise(&self, runtime: &Tokens) -> syn::Result<Tokens> {
        let value = &self.value;
        Ok(match self.results {
            Results::One => quote!(#runtime::macros::One<#value>),
            Results::Stream => quote!(#runtime::macros::Streamed<#value>),
            Results::Many => {
                let item = first_argument(value, "Vec")
                    .ok_or_else(|| syn::Error::new_spanned(value, "a task with many results returns a Vec of them"))?;
                quote!(#runtime::macros::Many<#item>)
            }
        })
    }

    /// What the runtime runs: reads the arguments, calls the function `run`, and makes objects of what it gives.
    fn body(&self, sig: &Signature, passed: &[Tokens], runtime: &Tokens) -> Tokens {
        let unwrapped = self.fails.then(|| quote!(.map_err(#runtime::macros::raised)?));
        let awaited = sig.asyncness.map(|_| quote!(.await));
        let outputs = match self.results {
            Results::Stream => {
                return quote! {
                    #runtime::macros::Body::Stream(|input| {
                        let context = input.context().clone();
                        let items = run(#(#passed),*)
                            .map(move |item| #runtime::macros::output_of(&context, &item #unwrapped));
                        ::std::result::Result::Ok(::std::boxed::Box::new(items) as #runtime::macros::Items)
                    })
                };
            }
            Results::Many if self.process => quote!(value.iter().map(#runtime::macros::encoded).collect()),
            Results::One if self.process => {
                quote!(#runtime::macros::encoded(&value).map(|value| ::std::vec![value]))
            }
            Results::Many => {
                quote!(value.iter().map(|item| #runtime::macros::output_of(input.context(), item)).collect())
            }
            Results::One => {
                quote!(#runtime::macros::output_of(input.context(), &value).map(|output| ::std::vec![output]))
            }
        };
        let work = quote! {
            let value = run(#(#passed),*) #awaited #unwrapped;
            #outputs
        };
        match sig.asyncness {
            Some(_) => quote! {
                #runtime::macros::Body::Async(|input| ::std::boxed::Box::pin(async move { #work }))
            },
            None if self.process => quote!(#runtime::macros::Body::Process(|input| { #work })),
            None => quote!(#runtime::macros::Body::Sync(|input| { #work })),
        }
    }
}

/// The function that describes a call, in place of the one that does the work; that one is registered under its path.
pub fn expand(attributes: &Tokens, function: ItemFn, runtime: &Tokens) -> syn::Result<Tokens> {
    let ItemFn { attrs, vis, sig, block } = function;
    let given = Given::by(&sig, Options::asked_for(attributes)?)?;
    let Parameters { asked, added, passed } = Parameters::of(sig.inputs.iter(), runtime)?;
    let (promise, body) = (given.promise(runtime)?, given.body(&sig, &passed, runtime));
    let (name, inputs, output, asyncness) = (&sig.ident, &sig.inputs, &sig.output, &sig.asyncness);
    let path = quote!(::std::concat!(::std::module_path!(), "::", ::std::stringify!(#name)));
    let (docs, others): (Vec<Attribute>, Vec<_>) =
        attrs.into_iter().partition(|attribute| attribute.path().is_ident("doc"));
    Ok(quote! {
        #(#docs)*
        #vis fn #name(#(#asked),*) -> #runtime::macros::TaskCall<#promise> {
            #(#others)*
            #asyncness fn run(#inputs) #output #block
            #runtime::macros::inventory::submit! {
                #runtime::macros::TaskFunction { name: #path, body: #body }
            }
            #runtime::macros::TaskCall::new(#path) #(#added)*
        }
    })
}
