//! `#[actor]` on an `impl` block.

use crate::parameters::{Parameters, fallible, is_rest, returned, yielded};
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, Type, Visibility};

/// The functions of the block by what they are to the runtime.
struct Parts {
    constructor: ImplItemFn,
    methods: Vec<Method>,
    /// What saves the state, and what restores it.
    hooks: Option<(ImplItemFn, ImplItemFn)>,
}

/// What a handle can call.
struct Method {
    function: ImplItemFn,
    /// Whether it yields items.
    streams: bool,
}

/// The block as it was, the type of its handles, and its entry among the classes.
pub fn expand(attributes: &Tokens, mut block: ItemImpl, runtime: &Tokens) -> syn::Result<Tokens> {
    check(attributes, &block)?;
    let class = class_name(&block.self_ty)?;
    let parts = parts(&mut block)?;
    let (init, construct) = expand_constructor(&parts.constructor, &class, runtime)?;
    let (mut handles, mut bodies, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    for method in &parts.methods {
        let (handle, body, entry) = expand_method(method, &class, runtime)?;
        handles.push(handle);
        bodies.push(body);
        entries.push(entry);
    }
    let hooks = expand_hooks(parts.hooks.as_ref(), &class, runtime)?;
    let constructor = match parts.constructor.sig.asyncness {
        Some(_) => quote!(Async(construct)),
        None => quote!(Sync(construct)),
    };
    let handle_type = expand_handle_type(&class, &handles, runtime);
    Ok(quote! {
        #block

        #handle_type

        impl #class {
            #init
        }

        const _: () = {
            #construct
            #(#bodies)*
            #runtime::macros::inventory::submit! {
                #runtime::macros::ActorClass {
                    name: <#class as #runtime::ActorType>::CLASS,
                    construct: #runtime::macros::Constructor::#constructor,
                    methods: &[#(#entries),*],
                    checkpoint: #hooks,
                }
            }
        };
    })
}

/// Refuses what can be no actor.
fn check(attributes: &Tokens, block: &ItemImpl) -> syn::Result<()> {
    if !attributes.is_empty() {
        return Err(syn::Error::new_spanned(
            attributes,
            "`actor` takes no options; they are given when one is created",
        ));
    }
    if let Some((_, of, _)) = &block.trait_ {
        return Err(syn::Error::new_spanned(of, "`actor` goes on the impl block of a type, not of a trait"));
    }
    match block.generics.params.first() {
        Some(generic) => {
            Err(syn::Error::new_spanned(generic, "an actor is named by its type, so that has no parameters"))
        }
        None => Ok(()),
    }
}

fn class_name(kind: &Type) -> syn::Result<Ident> {
    match kind {
        Type::Path(path) if path.path.get_ident().is_some() => Ok(path.path.segments[0].ident.clone()),
        other => Err(syn::Error::new_spanned(other, "an actor's type is named by a plain name")),
    }
}

/// Sorts the functions, and takes the runtime's own markers off them.
fn parts(block: &mut ItemImpl) -> syn::Result<Parts> {
    let (mut constructor, mut methods, mut save, mut restore) = (None, Vec::new(), None, None);
    for item in &mut block.items {
        let ImplItem::Fn(function) = item else { continue };
        let marked = |function: &mut ImplItemFn, name: &str| {
            let before = function.attrs.len();
            function.attrs.retain(|attribute| !attribute.path().is_ident(name));
            before != function.attrs.len()
        };
        let (saves, restores) = (marked(function, "save"), marked(function, "restore"));
        let streams = marked(function, "stream");
        let has_self = function.sig.receiver().is_some();
        let public = matches!(function.vis, Visibility::Public(_));
        if streams && (saves || restores || !public || !has_self) {
            return Err(syn::Error::new_spanned(&function.sig, "`#[stream]` goes on a method that handles can call"));
        }
        if saves {
            save = Some(function.clone());
        } else if restores {
            restore = Some(function.clone());
        } else if function.sig.ident == "new" && !has_self {
            constructor = Some(function.clone());
        } else if public && has_self {
            methods.push(Method { function: function.clone(), streams });
        }
    }
    let hooks = match (save, restore) {
        (Some(only), None) | (None, Some(only)) => {
            return Err(syn::Error::new_spanned(&only.sig, "`#[save]` and `#[restore]` come together"));
        }
        (save, restore) => save.zip(restore),
    };
    let constructor = constructor.ok_or_else(|| {
        syn::Error::new_spanned(&block.self_ty, "an actor needs a constructor: `pub fn new(...) -> Self`")
    })?;
    Ok(Parts { constructor, methods, hooks })
}

/// The parameters after `self`.
fn parameters(function: &ImplItemFn, runtime: &Tokens) -> syn::Result<Parameters> {
    let inputs = || function.sig.inputs.iter().filter(|input| !matches!(input, FnArg::Receiver(_)));
    match inputs().find(|input| is_rest(input)) {
        Some(rest) => Err(syn::Error::new_spanned(rest, "a method takes a `Vec` of references, not a `Rest`")),
        None => Parameters::of(inputs(), runtime),
    }
}

/// The type with the methods that a handle can call, and what ties it to the class.
fn expand_handle_type(class: &Ident, handles: &[Tokens], runtime: &Tokens) -> Tokens {
    let methods = format_ident!("{class}Methods");
    let about = format!("What a handle to an actor of type [`{class}`] can call.");
    quote! {
        #[doc = #about]
        pub struct #methods(#runtime::macros::Handle);

        impl ::std::convert::From<#runtime::macros::Handle> for #methods {
            fn from(handle: #runtime::macros::Handle) -> Self {
                Self(handle)
            }
        }

        impl ::std::convert::AsRef<#runtime::macros::Handle> for #methods {
            fn as_ref(&self) -> &#runtime::macros::Handle {
                &self.0
            }
        }

        impl #methods {
            #(#handles)*
        }

        impl #runtime::ActorType for #class {
            type Methods = #methods;
            const CLASS: &'static str = ::std::concat!(::std::module_path!(), "::", ::std::stringify!(#class));
        }
    }
}

fn docs(function: &ImplItemFn) -> Vec<&syn::Attribute> {
    function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).collect()
}

/// The type of what a function returns, and whether it can be an error instead.
fn value(function: &ImplItemFn) -> (Type, bool) {
    fallible(returned(&function.sig.output))
}

fn expand_constructor(function: &ImplItemFn, class: &Ident, runtime: &Tokens) -> syn::Result<(Tokens, Tokens)> {
    let Parameters { asked, added, passed } = parameters(function, runtime)?;
    let unwrapped = value(function).1.then(|| quote!(.map_err(#runtime::macros::raised)?));
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
fn expand_method(method: &Method, class: &Ident, runtime: &Tokens) -> syn::Result<(Tokens, Tokens, Tokens)> {
    let Method { function, streams } = method;
    let name = &function.sig.ident;
    let Some(FnArg::Receiver(receiver)) = function.sig.inputs.first() else {
        return Err(syn::Error::new_spanned(&function.sig, "a method takes self"));
    };
    if receiver.reference.is_none() {
        return Err(syn::Error::new_spanned(receiver, "an actor outlives its calls: take `&self` or `&mut self`"));
    }
    let (value, fails) = match streams {
        true => fallible(yielded(&function.sig)?),
        false => value(function),
    };
    let parameters = parameters(function, runtime)?;
    let this = match receiver.mutability {
        Some(_) => quote!(#runtime::macros::this_mut::<#class>(instance)?),
        None => quote!(#runtime::macros::this::<#class>(instance)?),
    };
    let called = quote!(#class::#name);
    let code = match streams {
        true => expand_stream(function, &called, &this, fails, &parameters.passed, runtime),
        false => expand_call(function, &called, &this, fails, &parameters.passed, runtime),
    };
    let body = format_ident!("call_{name}");
    let variant = match (streams, function.sig.asyncness.is_some(), receiver.mutability.is_some()) {
        (false, false, true) => quote!(Sync),
        (false, false, false) => quote!(SharedSync),
        (false, true, true) => quote!(Async),
        (false, true, false) => quote!(SharedAsync),
        (true, _, true) => quote!(Stream),
        (true, _, false) => quote!(SharedStream),
    };
    let full = quote! {
        ::std::concat!(::std::module_path!(), "::", ::std::stringify!(#class), "::", ::std::stringify!(#name))
    };
    let (promise, begin) = match streams {
        true => (quote!(#value, #runtime::macros::Streamed<#value>), quote!(stream)),
        false => (quote!(#value), quote!(call)),
    };
    let (docs, asked, added) = (docs(function), &parameters.asked, &parameters.added);
    let handle = quote! {
        #(#docs)*
        pub fn #name(&self, #(#asked),*) -> #runtime::ActorCall<#promise> {
            self.0.#begin(#full) #(#added)*
        }
    };
    let entry = quote!(#runtime::macros::Method { name: #full, body: #runtime::macros::MethodBody::#variant(#body) });
    Ok((handle, code, entry))
}

/// The kind of reference to itself that a method takes.
fn reference(function: &ImplItemFn) -> Tokens {
    match function.sig.receiver().is_some_and(|receiver| receiver.mutability.is_some()) {
        true => quote!(&'a mut),
        false => quote!(&'a),
    }
}

/// Calls a method with one result.
fn expand_call(
    function: &ImplItemFn,
    called: &Tokens,
    this: &Tokens,
    fails: bool,
    passed: &[Tokens],
    runtime: &Tokens,
) -> Tokens {
    let (body, kind) = (format_ident!("call_{}", function.sig.ident), reference(function));
    let unwrapped = fails.then(|| quote!(.map_err(#runtime::macros::raised)?));
    let awaited = function.sig.asyncness.map(|_| quote!(.await));
    let work = quote! {
        let this = #this;
        let value = #called(this, #(#passed),*) #awaited #unwrapped;
        #runtime::macros::output_of(input.context(), &value).map(|output| ::std::vec![output])
    };
    if function.sig.asyncness.is_some() {
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
    }
}

/// Opens what a method yields.
fn expand_stream(
    function: &ImplItemFn,
    called: &Tokens,
    this: &Tokens,
    fails: bool,
    passed: &[Tokens],
    runtime: &Tokens,
) -> Tokens {
    let (body, kind) = (format_ident!("call_{}", function.sig.ident), reference(function));
    let unwrapped = fails.then(|| quote!(.map_err(#runtime::macros::raised)?));
    quote! {
        fn #body<'a>(instance: #kind #runtime::macros::Instance, input: &#runtime::macros::Input)
            -> ::std::result::Result<#runtime::macros::MethodItems<'a>, #runtime::Error>
        {
            let context = input.context().clone();
            let items = #called(#this, #(#passed),*)
                .map(move |item| #runtime::macros::output_of(&context, &item #unwrapped));
            ::std::result::Result::Ok(::std::boxed::Box::new(items) as #runtime::macros::MethodItems<'a>)
        }
    }
}

fn expand_hooks(hooks: Option<&(ImplItemFn, ImplItemFn)>, class: &Ident, runtime: &Tokens) -> syn::Result<Tokens> {
    let Some((save, restore)) = hooks else {
        return Ok(quote!(::std::option::Option::None));
    };
    if save.sig.asyncness.is_some() || restore.sig.asyncness.is_some() {
        return Err(syn::Error::new_spanned(&save.sig, "`save` and `restore` may not await"));
    }
    let (save_name, restore_name) = (&save.sig.ident, &restore.sig.ident);
    let unwrap = |function: &ImplItemFn| value(function).1.then(|| quote!(.map_err(#runtime::macros::raised)?));
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
