# The extension in C (mixing_core/). It keeps nothing between calls. To encode gives None if the stream would take more
# than `most` bytes; to decode raises ValueError for what does not end where the data do.

# Tables of a chapter: 0 copies, 1 pieces, 2 regions, 3 corrections, 4 runs. `data` has `count` numbers, column by
# column, as `leb128` writes them. None also for what is not coded: numbers of more than 62 bits. All but the one stream
# of some numbers is refused.
def encode_table(table: int, data: bytes, count: int, most: int, /) -> bytes | None: ...
def decode_table(table: int, stream: bytes, count: int, /) -> bytes: ...

# The words of a segment, at most 2^18. For each word: its kind (below 16), four bytes of what it refers to, a mark, and
# four bytes of the draft and the result, the lowest first. A stream may say a result in another way than the encoder.
def encode_words(
    kind: bytes, target: bytes, mark: bytes, draft: bytes, result: bytes, most: int, /
) -> bytes | None: ...
def decode_words(stream: bytes, kind: bytes, target: bytes, mark: bytes, draft: bytes, /) -> bytes: ...
