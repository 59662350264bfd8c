//! What a person sees of a conversation: events become lines ([`Renderer`]), lines go to the terminal ([`Screen`]).

mod diff;
mod events;
mod figures;
mod line;
mod screen;
mod shorten;

pub(crate) use self::{
    events::described,
    figures::{Usage, duration},
    line::{Line, Style},
    screen::{Form, Screen},
    shorten::in_one_line,
};
