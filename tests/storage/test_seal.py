import json
import random

import pytest

from offline_mbrl.storage.seal import SealError, seal, unseal

VALUES: list[object] = [{}, [], {"a": 1}, [{"a": 1}, {"b": []}], {"a": {"b": [1.5, None]}, "c": "{, "}, [1, "crc32"]]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("indent", [None, 2])
def test_what_is_sealed_comes_back_and_is_still_json(value: object, indent: int | None) -> None:
    text = seal(json.dumps(value, indent=indent))
    assert unseal(text.encode()) == (value, True)
    json.loads(text)
    assert unseal(json.dumps(value, indent=indent).encode()) == (value, False)


def test_the_checksum_is_over_the_text_before_it() -> None:
    assert seal('{"a": 1}') == '{"a": 1, "crc32": "7aa88204"}'  # zlib.crc32(b'{"a": 1')


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("indent", [None, 2])
def test_every_flipped_bit_is_noticed_or_leaves_the_content(value: object, indent: int | None) -> None:
    text = (seal(json.dumps(value, indent=indent)) + "\n").encode()
    for place in range(8 * len(text)):
        flipped = bytearray(text)
        flipped[place // 8] ^= 1 << place % 8
        try:
            found, is_sealed = unseal(bytes(flipped))
        except SealError:
            continue
        # The seal itself lost its name: then it is an entry more, which no file of ours has.
        assert found == value if is_sealed else found != value


def test_another_order_of_the_same_bytes_is_noticed() -> None:
    text = seal(json.dumps({"a": [1, 2, 3, 4], "b": [5, 6, 7, 8]})).encode()
    generator = random.Random(0)
    for _ in range(200):
        i, j = generator.sample(range(len(text) - 20), 2)
        swapped = bytearray(text)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        if swapped != text:
            with pytest.raises(SealError):
                unseal(bytes(swapped))
