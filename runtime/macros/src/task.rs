//! `#[task]` on a function.

use crate::parameters::{Parameters, fallible, first_argument, returned};
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Attribute, GenericArgument, ItemFn, PathArguments, ReturnType, Signature, Type};

/// How many objects a call makes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Results {
    One,
    Many,
    Stream,
}

impl Results {
    fn asked_for(attributes: &Tokens) -> syn::Result<Self> {
        match attributes.to_string().as_str() {
            "" => Ok(Self::One),
            "many" => Ok(Self::Many),
            "stream" => Ok(Self::Stream),
            other => {
                let message = format!("`{other}` is no option; there are `many` and `stream`");
                Err(syn::Error::new_spanned(attributes, message))
            }
        }
    }
}

/// What a function gives.
struct Given {
    results: Results,
    /// Type of its value; of a generator, of an item.
    value: Type,
    /// Whether that can be an error instead.
    fails: bool,
}

impl Given {
    fn by(sig: &Signature, results: Results) -> syn::Result<Self> {
        let kind = if results == Results::Stream { yielded(sig)? } else { returned(&sig.output) };
        let (value, fails) = fallible(kind);
        Ok(Self { results, value, fails })
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
            None => quote!(#runtime::macros::Body::Sync(|input| { #work })),
        }
    }
}

/// The function that describes a call, in place of the one that does the work; that one is registered under its path.
pub fn expand(attributes: &Tokens, function: ItemFn, runtime: &Tokens) -> syn::Result<Tokens> {
    let ItemFn { attrs, vis, sig, block } = function;
    let given = Given::by(&sig, Results::asked_for(attributes)?)?;
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

/// The `T` of `impl Iterator<Item = T>`, which a generator returns.
fn yielded(sig: &Signature) -> syn::Result<Type> {
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
