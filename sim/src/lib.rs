//! Cost model, fault plans, worlds, checkers and traces for Mobula
