"""Manifests, corpus folders, hub data sets and hold-out."""

import json
from pathlib import Path

import pytest

from whisperslim.errors import DataError, UsageError
from whisperslim.speech.corpus.dataset import (
    Item,
    hold_out,
    load_items,
    manifest_hash,
    scored_source,
)
from whisperslim.speech.corpus.parts import Cut

DEMO = Path(__file__).parents[3] / "assets" / "demo_hi"
ROWS = [("a.wav", "नमस्ते दुनिया"), ("b.wav", 'उसने कहा "चलो')]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def tsv(*rows: tuple[str, ...]) -> str:
    return "\n".join("\t".join(row) for row in rows) + "\n"


def pairs(source: object) -> list[tuple[str, str]]:
    return [(item.key, item.text) for item in load_items(str(source))]


def test_the_demo_corpus_has_48_and_12_clips():
    train, test = load_items(f"{DEMO}#train"), load_items(f"{DEMO}#test")
    assert (len(train), len(test)) == (48, 12)
    assert load_items(str(DEMO)) == train + test
    assert {item.split for item in test} == {"test"}
    assert all(item.path.is_file() and item.path.is_relative_to(DEMO) for item in train)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.tsv", 'path\ttext\na.wav\tनमस्ते दुनिया\nb.wav\tउसने कहा "चलो\n'),
        ("m.csv", 'path,text\na.wav,नमस्ते दुनिया\nb.wav,"उसने कहा ""चलो"\n'),
        (
            "m.jsonl",
            "\n".join(json.dumps({"path": p, "text": t}) for p, t in ROWS) + "\n",
        ),
    ],
)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_formats_byte_order_marks_and_line_ends_read_alike(tmp_path, name, content, bom, line_end):
    path = write(tmp_path / name, bom + content.encode().replace(b"\n", line_end))
    assert pairs(path) == ROWS


@pytest.mark.parametrize("audio", ["path", "audio", "file", "filename", "Path", "audio_filepath"])
@pytest.mark.parametrize(
    "text",
    [
        "text",
        "sentence",
        "transcript",
        "transcription",
        "normalized_text",
        "normalized",
        "raw_transcription",
        "verbatim",
    ],
)
def test_common_column_names_are_understood(tmp_path, audio, text):
    path = write(tmp_path / "m.tsv", tsv((text, audio), ("हाँ", "x.wav")))
    assert pairs(path) == [("x.wav", "हाँ")]


def test_other_columns_are_kept_and_text_wins_over_sentence(tmp_path):
    rows = (
        ("path", "text", "sentence", "speaker", "duration"),
        ("x.wav", "हाँ", "0017", "s1", "2.5"),
    )
    (item,) = load_items(str(write(tmp_path / "m.tsv", tsv(*rows))))
    expected = Item("x.wav", "x.wav", "हाँ", "s1", "", 2.5, (("sentence", "0017"),), tmp_path)
    assert item == expected


# The columns of public corpora, as their cards and files have them.
CORPORA = {
    "IndicVoices": ({"audio_filepath": "x.wav", "text": "लिखा", "duration": 2.5, "lang": "hi",
                     "verbatim": "बोला", "normalized": "सादा", "speaker_id": "s1"}, "लिखा", "s1"),
    "IndicVoices-R": ({"audio": "x.wav", "text": "लिखा", "normalized": "सादा", "verbatim": "बोला",
                       "speaker_id": "s1", "duration": 2.5}, "लिखा", "s1"),
    "Kathbath": ({"fname": "7", "text": "लिखा", "audio_filepath": "x.wav", "lang": "hindi",
                  "duration": 2.5, "gender": "female", "speaker_id": "s1"}, "लिखा", "s1"),
    "Shrutilipi": ({"audio_filepath": "x.wav", "text": "लिखा", "duration": 2.5}, "लिखा", ""),
    "FLEURS": ({"id": 7, "audio": "x.wav", "transcription": "सादा", "raw_transcription": "लिखा।",
                "gender": 1, "duration": 2.5}, "सादा", ""),
}  # fmt: skip


@pytest.mark.parametrize("corpus", CORPORA)
def test_columns_of_public_corpora_are_understood(tmp_path, corpus):
    record, text, speaker = CORPORA[corpus]
    (item,) = load_items(str(write(tmp_path / "m.jsonl", json.dumps(record))))
    assert (item.file, item.text, item.speaker, item.duration) == ("x.wav", text, speaker, 2.5)


def test_a_set_without_speakers_is_held_out_by_text(tmp_path):
    record = CORPORA["FLEURS"][0]
    lines = (json.dumps({**record, "audio": f"{n}.wav", "transcription": str(n)}) for n in range(9))
    items = load_items(str(write(tmp_path / "m.jsonl", "\n".join(lines))))
    with pytest.raises(DataError, match="hold out by text"):
        hold_out(items, 0.2, "speaker", 0)
    train, dev = hold_out(items, 0.2, "text", 0)
    assert len(dev) == 2 and not {i.text for i in train} & {i.text for i in dev}


@pytest.mark.parametrize("name", ["m.json", "m.jsonl", "m.manifest", "m"])
def test_json_lines_are_read_whatever_the_name_ends_in(tmp_path, name):
    lines = "\n".join(json.dumps({"path": p, "text": t}) for p, t in ROWS)
    assert pairs(write(tmp_path / name, b"\xef\xbb\xbf" + lines.encode())) == ROWS


def test_a_list_of_nemo_chooses_stretches_of_recordings(tmp_path):
    record = {"audio_filepath": "long.wav", "duration": 2.5, "text": "एक"}
    offsets = (0.0, 2.5)
    lines = [json.dumps({**record, "offset": offset}) for offset in offsets]
    path = write(tmp_path / "m.json", "\n".join([*lines, json.dumps(record)]))
    assert [(i.key, i.file, i.cut) for i in load_items(str(path))] == [
        ("long.wav@0.0", "long.wav", Cut(0.0, 2.5)),
        ("long.wav@2.5", "long.wav", Cut(2.5, 2.5)),
        ("long.wav", "long.wav", None),
    ]
    for wrong, words in (({"duration": None}, "no duration"), ({"offset": "x"}, "offset 'x'")):
        write(path, json.dumps({**record, "offset": 1.0, **wrong}))
        with pytest.raises(DataError, match=f"line 1: .*{words}"):
            load_items(str(path))


def test_an_offset_of_other_lists_is_a_column_like_others(tmp_path):
    path = write(tmp_path / "m.tsv", tsv(("path", "text", "offset"), ("x.wav", "y", "3")))
    (item,) = load_items(str(path))
    assert (item.key, item.cut, item.columns) == ("x.wav", None, (("offset", "3"),))


def test_columns_may_be_named(tmp_path):
    rows = ("path", "wav", "text", "verbatim", "split"), ("a", "b", "c", "d", "test")
    path = write(tmp_path / "m.tsv", tsv(*rows))
    for asked, found in (
        ("", ("a", "c")), ("?text=verbatim", ("a", "d")), ("?audio=wav", ("b", "c")),
        ("#test?text=verbatim&audio=wav", ("b", "d")),
    ):  # fmt: skip
        assert pairs(f"{path}{asked}") == [found]
    with pytest.raises(DataError, match="no column 'words'; found: path, wav, text"):
        load_items(f"{path}?text=words")
    assert scored_source(f"{path}?text=verbatim") == f"{path}#test?text=verbatim"


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path):
    path = write(tmp_path / "m.tsv", tsv(("path", "text"), ("x.wav", "एक\u2028दो")))
    assert pairs(path) == [("x.wav", "एक\u2028दो")]


def test_blank_lines_are_skipped_and_a_quoted_line_end_is_not(tmp_path):
    path = write(tmp_path / "m.csv", 'path,text\n\na.wav,"एक\nदो"\n\n')
    assert pairs(path) == [("a.wav", "एक\nदो")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.tsv", tsv(("id", "words"), ("x", "y")), "found: id, words"),
        ("m.tsv", tsv(("path", "words"), ("x", "y")), "column for the text"),
        ("m.tsv", tsv(("path", "text"), ("x", "y"), ("x", "y", "z")), "line 3: has 3 cells"),
        ("m.tsv", tsv(("path", "text", "text"), ("x", "y", "z")), "given twice"),
        ("m.tsv", b"path\ttext\nx.wav\t\xe0\xa4\n", "line 2: not UTF-8"),
        ("m.tsv", "path\ttext\n".encode("utf-16"), "is UTF-16"),
        ("m.tsv", "path\ttext\n", "lists no recordings"),
        ("m.tsv", "", "lists no recordings"),
        ("m.tsv", tsv(("path", "text"), ("/etc/x.wav", "y")), "line 2: '/etc/x.wav' is absolute"),
        ("m.tsv", tsv(("path", "text"), ("", "y")), "line 2: the audio path is empty"),
        ("m.tsv", tsv(("path", "text"), ("x", "y"), ("x", "z")), "x is on lines 2 and 3"),
        ("m.tsv", tsv(("path", "text", "duration"), ("x", "y", "long")), "line 2: duration 'long'"),
        ("m.tsv", tsv(("path", "text", "duration"), ("x", "y", "nan")), "line 2: duration 'nan'"),
        ("m.csv", 'path,text\nx.wav,"open\n', "line 2: not a correct CSV"),
        ("m.jsonl", '{"path": "x", "text": "y"}\n{"path"\n', "line 2: not JSON"),
        ("m.jsonl", "[1, 2]\n", "line 1: not a JSON object"),
        ("m.txt", "path\n", "accepted are files ending in .tsv, .csv, .jsonl, .json"),
    ],
)
def test_a_wrong_manifest_is_refused_with_the_place(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match="m\\.") as caught:
        load_items(str(path))
    assert message in str(caught.value)


def test_an_unknown_split_lists_the_known_ones(tmp_path):
    rows = ("path", "text", "split"), ("x", "y", "train"), ("z", "y", "dev")
    path = write(tmp_path / "m.tsv", tsv(*rows))
    with pytest.raises(DataError, match="no split 'tset'; known: dev, train"):
        load_items(f"{path}#tset")
    assert [item.key for item in load_items(f"{path}#dev")] == ["z"]


def test_a_split_of_a_manifest_without_the_column_is_refused(tmp_path):
    path = write(tmp_path / "m.tsv", tsv(("path", "text"), ("x", "y")))
    with pytest.raises(DataError, match="no column `split`"):
        load_items(f"{path}#train")


def test_malformed_sources_and_missing_folders():
    with pytest.raises(UsageError, match="PATH#SPLIT"):
        load_items("data#")
    with pytest.raises(DataError, match="no such file or folder"):
        load_items("no-such-folder")


def test_a_file_name_with_a_number_sign_is_a_file(tmp_path):
    path = write(tmp_path / "take#2.tsv", tsv(("path", "text"), ("x", "y")))
    assert pairs(path) == [("x", "y")]


def test_a_folder_uses_its_manifest_or_its_only_table(tmp_path):
    write(tmp_path / "list.csv", "path,text\nx.wav,एक\n")
    assert pairs(tmp_path) == [("x.wav", "एक")]
    write(tmp_path / "more.tsv", tsv(("path", "text"), ("y.wav", "दो")))
    with pytest.raises(DataError, match=r"found: list\.csv, more\.tsv"):
        load_items(str(tmp_path))
    write(tmp_path / "manifest.tsv", tsv(("path", "text"), ("z.wav", "तीन")))
    assert pairs(tmp_path) == [("z.wav", "तीन")]
    write(tmp_path / "manifest.csv", "path,text\nz.wav,तीन\n")
    with pytest.raises(DataError, match=r"holds manifest\.tsv, manifest\.csv"):
        load_items(str(tmp_path))


@pytest.fixture
def common_voice(tmp_path: Path) -> Path:
    header = ("client_id", "path", "sentence", "up_votes")
    (tmp_path / "clips").mkdir()
    for split, clip in (("train", "1.mp3"), ("test", "2.mp3"), ("validated", "1.mp3")):
        row = ("spk", clip, 'वह "हाँ बोला', "2")
        write(tmp_path / f"{split}.tsv", tsv(header, row))
    write(tmp_path / "reported.tsv", tsv(("sentence", "reason"), ("x", "y")))
    write(tmp_path / "clip_durations.tsv", tsv(("clip", "duration[ms]"), ("1.mp3", "5")))
    return tmp_path


def test_a_common_voice_folder_is_read_as_downloaded(common_voice):
    (item,) = load_items(f"{common_voice}#test")
    clips, votes = common_voice / "clips", (("up_votes", "2"),)
    assert item == Item("2.mp3", "2.mp3", 'वह "हाँ बोला', "spk", "test", None, votes, clips)
    assert item.path == clips / "2.mp3"


def test_what_is_scored_when_no_split_is_named(common_voice):
    assert scored_source(str(common_voice)) == f"{common_voice}#test"
    assert scored_source(f"{common_voice}#train") == f"{common_voice}#train"
    assert scored_source("hub:a/b") == "hub:a/b#test"


@pytest.mark.parametrize("split", ["", "#reported"])
def test_a_common_voice_folder_needs_a_known_split(common_voice, split):
    with pytest.raises(DataError, match="known: test, train, validated"):
        load_items(f"{common_voice}{split}")


def speakers(*counts: int) -> list[Item]:
    return [
        Item(f"{s}-{n}", "x", f"t{n}", speaker=f"s{s}", columns=(("bulletin", f"b{s}"),))
        for s, count in enumerate(counts)
        for n in range(count)
    ]


@pytest.mark.parametrize("by", ["speaker", "bulletin"])
def test_hold_out_keeps_groups_whole_and_loses_nothing(by):
    items = speakers(*[5] * 20)
    train, dev = hold_out(items, 0.1, by, seed=1)
    assert len(dev) == 10
    assert sorted([*train, *dev], key=items.index) == items
    assert not {i.speaker for i in train} & {i.speaker for i in dev}


def test_hold_out_depends_on_the_seed_and_not_on_the_order():
    items = speakers(*[3] * 30)
    chosen = {item.key for item in hold_out(items, 0.2, "speaker", 7)[1]}
    assert chosen == {item.key for item in hold_out(items[::-1], 0.2, "speaker", 7)[1]}
    assert chosen != {item.key for item in hold_out(items, 0.2, "speaker", 8)[1]}


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("seed", range(5))
def test_hold_out_leaves_something_on_both_sides(fraction, seed):
    train, dev = hold_out(speakers(9, 1), fraction, "speaker", seed)
    assert train and dev


def test_hold_out_refuses_what_it_cannot_divide():
    with pytest.raises(DataError, match="have the same 'speaker'"):
        hold_out(speakers(4), 0.5, "speaker", 0)
    with pytest.raises(DataError, match="has no 'station' to group by; it has: bulletin, key"):
        hold_out(speakers(2, 2), 0.5, "station", 0)
    with pytest.raises(UsageError, match="between 0 and 1"):
        hold_out(speakers(2, 2), 1.0, "speaker", 0)


def test_only_wanted_clips_are_kept_and_all_are_asked_for(tmp_path):
    rows = "".join(f"{name}.wav\tx\n" for name in "abcd")
    (tmp_path / "manifest.tsv").write_text(f"path\ttext\n{rows}", "utf-8")
    asked = []
    kept = load_items(str(tmp_path), lambda key: bool(asked.append(key)) or key > "b.wav")
    assert [item.key for item in kept] == ["c.wav", "d.wav"]
    assert asked == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert load_items(str(tmp_path), lambda key: False) == []


def test_the_manifest_hash_is_of_the_content_and_not_of_the_place(tmp_path):
    table = tsv(("path", "text"), ("x", "एक"), ("y", "दो"))
    for folder in "ab":
        write(tmp_path / folder / "manifest.tsv", table)
    write(tmp_path / "c" / "manifest.tsv", table.replace("दो", "तीन"))
    a, b, c = (manifest_hash(load_items(str(tmp_path / name))) for name in "abc")
    assert a == b != c
    assert a != manifest_hash(load_items(str(tmp_path / "a"))[::-1])
