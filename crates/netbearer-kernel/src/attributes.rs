use rtnetlink::packet_core::{DecodeError, NlaBuffer, NlasIterator};

/// The attributes of a message, one at a time. One that cannot be parsed is left out, so that news of a kernel younger
/// than the parser costs that attribute and not the whole message.
pub(crate) fn attributes<'bytes, A>(
    bytes: &'bytes [u8],
    mut parse: impl FnMut(&NlaBuffer<&'bytes [u8]>) -> Result<A, DecodeError>,
) -> impl Iterator<Item = A> {
    NlasIterator::new(bytes).map_while(Result::ok).filter_map(move |attribute| {
        parse(&attribute)
            .inspect_err(|error| tracing::debug!(kind = attribute.kind(), %error, "attribute not understood"))
            .ok()
    })
}
