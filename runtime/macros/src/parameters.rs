//! What tasks, constructors and methods have in common: their parameters, and what they return.

use proc_macro2::{Ident, TokenStream as Tokens};
use quote::quote;
use syn::{FnArg, GenericArgument, PathArguments, ReturnType, Signature, Type};

/// What a parameter is to the caller.
enum Parameter {
    Context,
    Value(Ident, Box<Type>),
    Rest(Ident, Box<Type>),
}

/// The parameters of a function: how the caller gives them, how they are added to a call, how they are read.
#[derive(Default)]
pub struct Parameters {
    pub asked: Vec<Tokens>,
    pub added: Vec<Tokens>,
    pub passed: Vec<Tokens>,
}

impl Parameters {
    /// Those of `inputs`, in order: the context first if there is one, the rest last if there is one.
    pub fn of<'a>(inputs: impl Iterator<Item = &'a FnArg>, runtime: &Tokens) -> syn::Result<Self> {
        let mut all = Self::default();
        let mut position = 0_usize;
        let mut rest = None;
        for (index, input) in inputs.enumerate() {
            if let Some(rest) = rest {
                return Err(syn::Error::new_spanned(rest, "the rest comes last"));
            }
            match parameter(input)? {
                Parameter::Context if index == 0 => all.passed.push(quote!(input.context().clone())),
                Parameter::Context => return Err(syn::Error::new_spanned(input, "the context comes first")),
                Parameter::Value(name, kind) => {
                    all.asked.push(quote!(#name: impl #runtime::IntoArg<#kind>));
                    all.added.push(quote!(.arg::<#kind>(#name)));
                    all.passed.push(quote!(input.arg::<#kind>(#position)?));
                    position += 1;
                }
                Parameter::Rest(name, item) => {
                    all.asked.push(quote!(#name: &[#runtime::ObjectRef<#item>]));
                    all.added.push(quote!(.rest::<#item>(#name)));
                    all.passed.push(quote!(input.rest::<#item>(#position)?));
                    rest = Some(input);
                }
            }
        }
        Ok(all)
    }
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

/// Whether a parameter is a `Rest<T>`.
pub fn is_rest(input: &FnArg) -> bool {
    matches!(input, FnArg::Typed(typed) if first_argument(&typed.ty, "Rest").is_some())
}

/// The type a function returns.
pub fn returned(output: &ReturnType) -> Type {
    match output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, kind) => (**kind).clone(),
    }
}

/// The type of a value, and whether it can be an error instead.
pub fn fallible(kind: Type) -> (Type, bool) {
    match first_argument(&kind, "Result") {
        Some(value) => (value, true),
        None => (kind, false),
    }
}

/// Whether a type is called that, whatever its path and arguments.
pub fn is_named(kind: &Type, name: &str) -> bool {
    matches!(kind, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == name))
}

/// The `T` of `name<T, ...>`.
pub fn first_argument(kind: &Type, name: &str) -> Option<Type> {
    let Type::Path(path) = kind else { return None };
    let segment = path.path.segments.last().filter(|segment| segment.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(kind) => Some(kind.clone()),
        _ => None,
    })
}

/// The `T` of `impl Iterator<Item = T>`, which a generator returns.
pub fn yielded(sig: &Signature) -> syn::Result<Type> {
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
