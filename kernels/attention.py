"""Attention of a lock-step batch of streams over the caches of one layer: one new column a stream, held in a pool of places.

Each function has a Triton kernel for CUDA (`kernels.attention_triton`) and a plain PyTorch twin that says what the kernel does.
Nothing here waits for the device, and shapes alone decide what is launched, so that a step can be captured in a CUDA graph.
The caches are written in place.

Letters: B lanes of the batch, one stream each; P places of the pool; S segments; R guidance rows (conditional, null) or the
conditional one alone; H heads, d wide; N positions of a self-attention cache; C tokens that a condition has room for; T tokens
of a frame; F frames that are written together.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kernels.store import Store, held_at, put

Impl = Literal["auto", "triton", "plain"]
"""auto: Triton for CUDA tensors, plain PyTorch for others."""


def self_attention(
    qkv: Tensor,
    keys: Store,
    values: Store,
    place: Tensor,
    position: Tensor,
    impl: Impl = "auto",
    dependent: bool = False,
) -> Tensor:
    """Each segment writes its new column and attends to all that it holds.

    qkv: [B, S, R, 3, H, d]; keys and values: [P, S, R, H, N, d]; place: [B], whose caches a lane has; position: [B, S], below N.
    A segment at a position of 0 or more writes its key and value there, then attends to positions 0..position, the new one
    too, all of them as the store holds them: the answer depends on nothing but what is held. One at a negative position
    does not play: it writes nothing and answers 0. Two playing lanes have two places; the place of a lane that does not
    play is any that exists. Softmax in float32, scale d**-0.5. Returns [B, S, R, H * d] in the type of qkv.
    dependent: the kernel may be part of a chain (`kernels.dependent`), before which everything but qkv was there.
    """
    lanes, segments, rows, three, heads, width = qkv.shape
    _check_store(keys, values, (segments, rows, heads), width)
    if three != 3 or place.shape != (lanes,) or position.shape != (lanes, segments):
        raise ValueError(
            f"qkv {list(qkv.shape)}, place {list(place.shape)} and position {list(position.shape)} do not fit"
        )
    if by_triton(impl, qkv):
        from kernels import attention_triton

        return attention_triton.self_attention(qkv, keys, values, place, position, dependent=dependent)
    return self_attention_plain(qkv, keys, values, place, position)


def cross_attention(
    q: Tensor,
    keys: Store,
    values: Store,
    place: Tensor,
    tokens: Tensor,
    null_keys: Tensor,
    null_values: Tensor,
    impl: Impl = "auto",
    dependent: bool = False,
) -> Tensor:
    """Conditional rows attend to the stream's tokens, null rows to the null frame.

    q: [B, S, R, H, d]; keys and values: [P, H, C, d]; place: [B]; tokens: [B], how many of the C count, 0: the answer is 0;
    null_keys and null_values: [H, T, d], the same for everybody. All keys carry the scale d**-0.5. Returns [B, S, R, H * d] in
    the type of q. dependent: as for `self_attention`, with q.
    """
    lanes, _, rows, heads, width = q.shape
    _check_store(keys, values, (heads,), width)
    if place.shape != (lanes,) or tokens.shape != (lanes,) or rows > 2:
        raise ValueError(
            f"q {list(q.shape)}, place {list(place.shape)} and tokens {list(tokens.shape)} do not fit"
        )
    if null_keys.shape != null_values.shape or null_keys.shape[::2] != (heads, width):
        raise ValueError(f"null keys {list(null_keys.shape)} and values {list(null_values.shape)}")
    if by_triton(impl, q):
        from kernels import attention_triton

        return attention_triton.cross_attention(
            q, keys, values, place, tokens, null_keys, null_values, dependent=dependent
        )
    return cross_attention_plain(q, keys, values, place, tokens, null_keys, null_values)


def write_condition(
    keys: Store,
    values: Store,
    place: Tensor,
    first_token: Tensor,
    k: Tensor,
    v: Tensor,
    impl: Impl = "auto",
) -> None:
    """Frames as condition tokens, quantised and put where the lanes hold them.

    keys and values: [P, H, C, d]; place and first_token: [F], a negative place: the frame is not written; k, v: [F, H, T, d],
    the scale d**-0.5 in the keys. first_token + T is at most C.
    """
    frames, heads, _, width = k.shape
    _check_store(keys, values, (heads,), width)
    if k.shape != v.shape or place.shape != (frames,) or first_token.shape != (frames,):
        raise ValueError(f"{list(k.shape)} keys, {list(v.shape)} values, {list(place.shape)} places")
    if by_triton(impl, k):
        from kernels import attention_triton

        attention_triton.write_condition(keys, values, place, first_token, k, v)
    else:
        write_condition_plain(keys, values, place, first_token, k, v)


def by_triton(impl: Impl, tensor: Tensor) -> bool:
    """Whether that is to be done by the kernel."""
    return impl == "triton" or (impl == "auto" and tensor.is_cuda)


def _check_store(keys: Store, values: Store, axes: tuple[int, ...], width: int) -> None:
    """Both hold [P, *axes, N, width] in one type."""
    shape = keys.values.shape
    if shape != values.values.shape or shape[1:-2] != axes or shape[-1] != width:
        raise ValueError(
            f"keys {list(shape)} and values {list(values.values.shape)} for {list(axes)} of {width}"
        )
    if keys.values.dtype != values.values.dtype or width % 8 or width > 128:
        raise ValueError(
            f"keys in {keys.values.dtype}, values in {values.values.dtype}, {width} wide: "
            "one type, a multiple of 8 up to 128"
        )


def self_attention_plain(qkv: Tensor, keys: Store, values: Store, place: Tensor, position: Tensor) -> Tensor:
    """The twin of `self_attention`."""
    q, k, v = qkv.unbind(3)
    _, segments, rows, heads, width = q.shape

    def axis(size: int, behind: int) -> Tensor:
        return torch.arange(size, device=q.device).view(-1, *[1] * behind)

    column = position[..., None, None]  # [B, S, R, H]
    index = (place.view(-1, 1, 1, 1), axis(segments, 2), axis(rows, 1), axis(heads, 0), column)
    for store, new in ((keys, k), (values, v)):
        put(store, index, new, column >= 0)
    live = torch.arange(keys.values.shape[-2], device=q.device) <= position[..., None]  # [B, S, N]
    mixed = _attended(
        q[..., None, :] * width**-0.5, held_at(keys, place), held_at(values, place), live[:, :, None, None]
    )
    return mixed.flatten(3, 5).to(qkv.dtype)


def cross_attention_plain(
    q: Tensor,
    keys: Store,
    values: Store,
    place: Tensor,
    tokens: Tensor,
    null_keys: Tensor,
    null_values: Tensor,
) -> Tensor:
    """The twin of `cross_attention`."""
    live = torch.arange(keys.values.shape[-2], device=q.device) < tokens[:, None]  # [B, C]
    all_live = torch.ones(null_keys.shape[1], dtype=torch.bool, device=q.device)
    asked = q.permute(2, 0, 3, 1, 4)  # [R, B, H, S, d]
    answers = [_attended(asked[0], held_at(keys, place), held_at(values, place), live[:, None])]
    answers += [_attended(row, null_keys.float(), null_values.float(), all_live) for row in asked[1:]]
    return torch.stack(answers).permute(1, 3, 0, 2, 4).flatten(3).to(q.dtype)


def _attended(q: Tensor, keys: Tensor, values: Tensor, live: Tensor) -> Tensor:
    """q: [..., Q, d]; keys, values: [..., N, d] in float32; live: [..., N], the columns that count. Returns [..., Q, d].

    0 where no column counts. What is behind those that do may be anything, NaN too.
    """
    scores = (q.float() @ keys.transpose(-1, -2)).masked_fill(~live[..., None, :], -torch.inf)
    weights = scores.softmax(-1).masked_fill(~live[..., None, :], 0.0)
    return weights @ values.masked_fill(~live[..., None], 0.0)


def write_condition_plain(
    keys: Store, values: Store, place: Tensor, first_token: Tensor, k: Tensor, v: Tensor
) -> None:
    """The twin of `write_condition`."""
    _, heads, tokens, _ = k.shape
    head = torch.arange(heads, device=k.device)[:, None]
    token = first_token.view(-1, 1, 1) + torch.arange(tokens, device=k.device)
    where = place.view(-1, 1, 1)
    for store, new in ((keys, k), (values, v)):
        put(store, (where, head, token), new, where >= 0)
