//! What a call may count and cost, before it leaves.

use longshore_protocol::Content;

use crate::{Request, price::PriceList};

/// Tokens that are written at most where neither the configuration nor the request has a limit.
pub const USUAL_OUTPUT: u64 = 16_384;

/// Bytes of text for a token. Most texts have a little more.
const BYTES_PER_TOKEN: usize = 4;

/// Tokens that providers count for an image at most, however large its data are.
const TOKENS_PER_IMAGE: usize = 2000;

/// The most that a call may count and cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Tokens read; a rough count.
    pub input_tokens: u64,
    /// Tokens written at most.
    pub output_tokens: u64,
    /// US dollars for what is read; nothing if nobody knows the price.
    pub input_cost: Option<f64>,
    /// US dollars for all; nothing if nobody knows the price.
    pub cost: Option<f64>,
}

impl Estimate {
    /// For a model that writes at most so many tokens.
    pub(crate) fn new(request: &Request, output_tokens: u64, prices: &PriceList) -> Self {
        let input_tokens = input_tokens(request);
        Self {
            input_tokens,
            output_tokens,
            input_cost: prices.most(input_tokens, 0),
            cost: prices.most(input_tokens, output_tokens),
        }
    }
}

fn input_tokens(request: &Request) -> u64 {
    let messages = request.messages.iter().map(|message| {
        let parts = message.content.iter().map(|part| match part {
            Content::Text(text) => text.text.len() / BYTES_PER_TOKEN,
            Content::Image(image) => image.image_urls.len() * TOKENS_PER_IMAGE,
        });
        let calls = message.tool_calls.iter().flatten().map(|call| call.name.len() + call.arguments.len());
        let reasoning = message.reasoning_content.as_ref().map_or(0, String::len);
        parts.sum::<usize>() + (calls.sum::<usize>() + reasoning) / BYTES_PER_TOKEN + 8
    });
    let tools = request.tools.iter().map(|tool| {
        let parameters = serde_json::to_string(&tool.parameters).map_or(0, |text| text.len());
        (tool.name.len() + tool.description.len() + parameters) / BYTES_PER_TOKEN
    });
    (messages.sum::<usize>() + tools.sum::<usize>()) as u64
}
