//! The public face of Mobula.
