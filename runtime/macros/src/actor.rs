//! `#[actor]` on an `impl` block.

use crate::{Parameter, first_argument, parameter};
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, ReturnType, Type, Visibility};

/// The functions of the block by what they are to the runtime.
#[derive(Default)]
struct Parts {
    constructor: Option<ImplItemFn>,
    methods: Vec<ImplItemFn>,
    save: Option<ImplItemFn>,
    restore: Option<ImplItemFn>,
}

pub fn expand(attributes: Tokens, mut block: ItemImpl, runtime: &Tokens) -> syn::Result<Tokens> {
    if !attributes.is_empty() {
        return Err(syn::Error::new_spanned(
            attributes,
            "`actor` takes no options; they are given when one is created",
        ));
    }
    if let Some((_, of, _)) = &block.trait_ {
        return Err(syn::Error::new_spanned(of, "`actor` goes on the impl block of a type, not of a trait"));
    }
    if let Some(generic) = block.generics.params.first() {
        return Err(syn::Error::new_spanned(generic, "an actor is named by its type, so that has no parameters"));
    }
    let class = class_name(&block.self_ty)?;
    let parts = parts(&mut block)?;
    let Some(constructor) = &parts.constructor else {
        return Err(syn::Error::new_spanned(&block.self_ty, "an actor needs a constructor: `pub fn new(...) -> Self`"));
    };
    let methods_name = format_ident!("{class}Methods");
    let (init, construct) = expand_constructor(constructor, &class, runtime)?;
    let mut handles = Vec::new();
    let mut bodies = Vec::new();
    let mut entries = Vec::new();
    for method in &parts.methods {
        let (handle, body, entry) = expand_method(method, &class, runtime)?;
        handles.push(handle);
        bodies.push(body);
        entries.push(entry);
    }
    let hooks = expand_hooks(&parts, &class, runtime)?;
    let construct_body =
        if constructor.sig.asyncness.is_some() { quote!(Async(construct)) } else { quote!(Sync(construct)) };
    let name = quote!(::std::concat!(::std::module_path!(), "::", ::std::stringify!(#class)));
    let about = format!("What a handle to an actor of type [`{class}`] can call.");
    Ok(quote! {
        #block

        #[doc = #about]
        pub struct #methods_name(#runtime::macros::Handle);

        impl ::std::convert::From<#runtime::macros::Handle> for #methods_name {
            fn from(handle: #runtime::macros::Handle) -> Self {
                Self(handle)
            }
        }

        impl ::std::convert::AsRef<#runtime::macros::Handle> for #methods_name {
            fn as_ref(&self) -> &#runtime::macros::Handle {
                &self.0
            }
        }

        impl #methods_name {
            #(#handles)*
        }

        impl #class {
            #init
        }

        impl #runtime::ActorType for #class {
            type Methods = #methods_name;
            const CLASS: &'static str = #name;
        }

        const _: () = {
            #construct
            #(#bodies)*
            #runtime::macros::inventory::submit! {
                #runtime::macros::ActorClass {
                    name: #name,
                    construct: #runtime::macros::Constructor::#construct_body,
                    methods: &[#(#entries),*],
                    checkpoint: #hooks,
                }
            }
        };
    })
}

fn class_name(kind: &Type) -> syn::Result<Ident> {
    match kind {
        Type::Path(path) if path.path.get_ident().is_some() => Ok(path.path.segments[0].ident.clone()),
        other => Err(syn::Error::new_spanned(other, "an actor's type is named by a plain name")),
    }
}

/// Sorts the functions, and takes the runtime's own markers off them.
fn parts(block: &mut ItemImpl) -> syn::Result<Parts> {
    let mut parts = Parts::default();
    for item in &mut block.items {
        let ImplItem::Fn(function) = item else { continue };
        let marked = |function: &mut ImplItemFn, name: &str| {
            let before = function.attrs.len();
            function.attrs.retain(|attribute| !attribute.path().is_ident(name));
            before != function.attrs.len()
        };
        let (save, restore) = (marked(function, "save"), marked(function, "restore"));
        let has_self = function.sig.receiver().is_some();
        let public = matches!(function.vis, Visibility::Public(_));
        if save {
            parts.save = Some(function.clone());
        } else if restore {
            parts.restore = Some(function.clone());
        } else if function.sig.ident == "new" && !has_self {
            parts.constructor = Some(function.clone());
        } else if public && has_self {
            parts.methods.push(function.clone());
        }
    }
    match (&parts.save, &parts.restore) {
        (Some(only), None) | (None, Some(only)) => {
            Err(syn::Error::new_spanned(&only.sig, "`#[save]` and `#[restore]` come together"))
        }
        _ => Ok(parts),
    }
}

/// The parameters after `self`: how the caller gives them, how they are added to a call, how they are read.
struct Parameters {
    asked: Vec<Tokens>,
    added: Vec<Tokens>,
    passed: Vec<Tokens>,
}

fn parameters(function: &ImplItemFn, runtime: &Tokens) -> syn::Result<Parameters> {
    let mut all = Parameters { asked: Vec::new(), added: Vec::new(), passed: Vec::new() };
    let mut position = 0_usize;
    let inputs = function.sig.inputs.iter().filter(|input| !matches!(input, FnArg::Receiver(_)));
    for (index, input) in inputs.enumerate() {
        match parameter(input)? {
            Parameter::Context if index == 0 => all.passed.push(quote!(input.context().clone())),
            Parameter::Context => return Err(syn::Error::new_spanned(input, "the context comes first")),
            Parameter::Rest(..) => {
                return Err(syn::Error::new_spanned(input, "a method takes a `Vec` of references, not a `Rest`"));
            }
            Parameter::Value(name, kind) => {
                all.asked.push(quote!(#name: impl #runtime::IntoArg<#kind>));
                all.added.push(quote!(.arg::<#kind>(#name)));
                all.passed.push(quote!(input.arg::<#kind>(#position)?));
                position += 1;
            }
        }
    }
    Ok(all)
}

fn docs(function: &ImplItemFn) -> Vec<&syn::Attribute> {
    function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).collect()
}

/// The type of a returned value, and whether it can be an error instead.
fn returned(function: &ImplItemFn) -> (Type, bool) {
    let kind = match &function.sig.output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, kind) => (**kind).clone(),
    };
    match first_argument(&kind, "Result") {
        Some(value) => (value, true),
        None => (kind, false),
    }
}

fn expand_constructor(function: &ImplItemFn, class: &Ident, runtime: &Tokens) -> syn::Result<(Tokens, Tokens)> {
    let Parameters { asked, added, passed } = parameters(function, runtime)?;
    let unwrapped = returned(function).1.then(|| quote!(.map_err(#runtime::macros::raised)?));
    let awaited = function.sig.asyncness.map(|_| quote!(.await));
    let docs = docs(function);
    let work = quote! {
        let instance = #class::new(#(#passed),*) #awaited #unwrapped;
        ::std::result::Result::Ok(::std::boxed::Box::new(instance) as ::std::boxed::Box<#runtime::macros::Instance>)
    };
    let construct = if function.sig.asyncness.is_some() {
        quote! {
            fn construct(input: #runtime::macros::Input)
                -> #runtime::macros::BoxFuture<#runtime::macros::Constructed>
            {
                ::std::boxed::Box::pin(async move { #work })
            }
        }
    } else {
        quote! {
            fn construct(input: &#runtime::macros::Input) -> #runtime::macros::Constructed { #work }
        }
    };
    let init = quote! {
        #(#docs)*
        ///
        /// As an actor: describes one, to be created with a context.
        pub fn actor(#(#asked),*) -> #runtime::ActorInit<#class> {
            #runtime::ActorInit::new() #(#added)*
        }
    };
    Ok((init, construct))
}

/// What a handle calls, the function behind it, and its entry in the class.
fn expand_method(function: &ImplItemFn, class: &Ident, runtime: &Tokens) -> syn::Result<(Tokens, Tokens, Tokens)> {
    let name = &function.sig.ident;
    let Some(FnArg::Receiver(receiver)) = function.sig.inputs.first() else {
        return Err(syn::Error::new_spanned(&function.sig, "a method takes self"));
    };
    if receiver.reference.is_none() {
        return Err(syn::Error::new_spanned(receiver, "an actor outlives its calls: take `&self` or `&mut self`"));
    }
    let Parameters { asked, added, passed } = parameters(function, runtime)?;
    let (value, fails) = returned(function);
    let unwrapped = fails.then(|| quote!(.map_err(#runtime::macros::raised)?));
    let awaited = function.sig.asyncness.map(|_| quote!(.await));
    let (this, kind) = match receiver.mutability {
        Some(_) => (quote!(#runtime::macros::this_mut::<#class>(instance)?), quote!(&'a mut)),
        None => (quote!(#runtime::macros::this::<#class>(instance)?), quote!(&'a)),
    };
    let body = format_ident!("call_{name}");
    let work = quote! {
        let this = #this;
        let value = #class::#name(this, #(#passed),*) #awaited #unwrapped;
        #runtime::macros::output_of(input.context(), &value).map(|output| ::std::vec![output])
    };
    let code = if function.sig.asyncness.is_some() {
        quote! {
            fn #body<'a>(instance: #kind #runtime::macros::Instance, input: #runtime::macros::Input)
                -> #runtime::macros::MethodFuture<'a>
            {
                ::std::boxed::Box::pin(async move { #work })
            }
        }
    } else {
        quote! {
            fn #body<'a>(instance: #kind #runtime::macros::Instance, input: &#runtime::macros::Input)
                -> #runtime::macros::Outputs
            {
                #work
            }
        }
    };
    let variant = match (function.sig.asyncness.is_some(), receiver.mutability.is_some()) {
        (false, true) => quote!(Sync),
        (false, false) => quote!(SharedSync),
        (true, true) => quote!(Async),
        (true, false) => quote!(SharedAsync),
    };
    let full = quote! {
        ::std::concat!(::std::module_path!(), "::", ::std::stringify!(#class), "::", ::std::stringify!(#name))
    };
    let docs = docs(function);
    let handle = quote! {
        #(#docs)*
        pub fn #name(&self, #(#asked),*) -> #runtime::ActorCall<#value> {
            self.0.call(#full) #(#added)*
        }
    };
    let entry = quote!(#runtime::macros::Method { name: #full, body: #runtime::macros::MethodBody::#variant(#body) });
    Ok((handle, code, entry))
}

fn expand_hooks(parts: &Parts, class: &Ident, runtime: &Tokens) -> syn::Result<Tokens> {
    let (Some(save), Some(restore)) = (&parts.save, &parts.restore) else {
        return Ok(quote!(::std::option::Option::None));
    };
    if save.sig.asyncness.is_some() || restore.sig.asyncness.is_some() {
        return Err(syn::Error::new_spanned(&save.sig, "`save` and `restore` may not await"));
    }
    let (save_name, restore_name) = (&save.sig.ident, &restore.sig.ident);
    let unwrap = |function: &ImplItemFn| returned(function).1.then(|| quote!(.map_err(#runtime::macros::raised)?));
    let (save_fails, restore_fails) = (unwrap(save), unwrap(restore));
    let state = restore.sig.inputs.iter().find_map(|input| match input {
        FnArg::Typed(typed) => Some(&typed.ty),
        FnArg::Receiver(_) => None,
    });
    let Some(state) = state else {
        return Err(syn::Error::new_spanned(&restore.sig, "`restore` takes what `save` returned"));
    };
    Ok(quote! {
        ::std::option::Option::Some(#runtime::macros::Hooks {
            save: |instance| {
                let state = #class::#save_name(#runtime::macros::this::<#class>(instance)?) #save_fails;
                #runtime::macros::saved(&state)
            },
            restore: |input| {
                let instance = #class::#restore_name(input.arg::<#state>(0)?) #restore_fails;
                ::std::result::Result::Ok(::std::boxed::Box::new(instance) as ::std::boxed::Box<#runtime::macros::Instance>)
            },
        })
    })
}
