"""Heat maps: a picture whose dark cells are the heavy ones, a page with every weight."""

from __future__ import annotations

import re

import matplotlib.image
import numpy as np
import pytest

from seq2seq.app.heatmap import MOST, attention_picture, attention_table
from seq2seq.errors import ConfigError
from seq2seq.inference.alignments import WordAttention

ONE = WordAttention(["a", "<b>"], ["x", "&"], np.array([[1, 0, 0], [0, 0.25, 0.75], [0, 0, 1]], dtype=np.float32))


def test_a_page_holds_every_weight_and_no_markup_of_the_text(tmp_path):
    path = tmp_path / "a.html"
    with attention_picture(str(path)) as draw:
        for _ in range(MOST + 5):
            draw(ONE)
        assert not path.exists()
    page = path.read_text(encoding="utf-8")
    assert page.count("<table>") == MOST + 5 and page.endswith("</html>\n")
    table = attention_table(ONE)
    assert re.findall(r"--w:([\d.]+)", table) == [f"{w:.3f}" for w in ONE.weights.ravel()]
    assert re.findall(r"<bdi>(.*?)</bdi>", table) == ["a", "&lt;b&gt;", "&lt;/s&gt;", "x", "&amp;", "&lt;/s&gt;"]


def test_a_picture_is_dark_where_the_weight_is(tmp_path, capsys):
    pictures = []
    for name, weights in (("a", np.eye(3)), ("b", np.eye(3)[::-1])):
        with attention_picture(str(tmp_path / f"{name}.png")) as draw:
            draw(WordAttention(["aa", "bb"], ["cc", "dd"], weights.astype(np.float32)))
        pictures.append(matplotlib.image.imread(tmp_path / f"{name}.png")[..., :3])
    blue = np.array([8, 48, 107]) / 255  # the end of the scale
    dark = [np.abs(picture - blue).max(-1) < 0.02 for picture in pictures]
    rows, columns = np.nonzero(dark[0])
    assert np.corrcoef(rows, columns)[0, 1] > 0.8
    assert np.corrcoef(*np.nonzero(dark[1]))[0, 1] < -0.8
    assert capsys.readouterr().err == ""


def test_many_sentences_are_too_many_for_a_picture(tmp_path, capsys):
    path = tmp_path / "a.svg"
    with attention_picture(str(path)) as draw:
        for _ in range(MOST + 1):
            draw(ONE)
    assert f"shows {MOST} of {MOST + 1} lines; --attention a.html shows all" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8").count('<g id="axes_') == MOST


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(ConfigError, match=r"should end in \.png, \.svg or \.html"), attention_picture("a.gif"):
        pass
    nothing = WordAttention([], [], np.ones((1, 1), dtype=np.float32))
    with pytest.raises(ConfigError, match="no translation"), attention_picture(str(tmp_path / "a.png")) as draw:
        draw(nothing)
    with pytest.raises(ConfigError, match="cannot write"), attention_picture(str(tmp_path / "no" / "a.png")) as draw:
        draw(ONE)
