import io

import pandas as pd

from snowmap.tables import as_csv, plain_console, printable

FORMULAS = ["=1+1", "+A1", "-2+3", "@SUM(A1)", "\tx", "=cmd|' /C calc'!A0"]


def test_text_that_a_spreadsheet_would_run_is_quoted_and_numbers_stay():
    table = pd.DataFrame(
        {"=name": FORMULAS, "value": [-1.5, 2, None, -4, 5, 6], "text": ["-1.5", "a=b", "", None, "b", "+2"]}
    )
    read = pd.read_csv(io.StringIO(as_csv(table)), keep_default_na=False)
    assert read.columns.tolist() == ["'=name", "value", "text"]
    assert read["'=name"].tolist() == [f"'{cell}" for cell in FORMULAS]
    assert read["value"].tolist() == ["-1.5", "2.0", "", "-4.0", "5.0", "6.0"]
    assert read["text"].tolist() == ["-1.5", "a=b", "", "", "b", "+2"]
    dated = pd.DataFrame({"date": pd.to_datetime(["2021-01-21"]), "inside": [True]})
    assert as_csv(dated) == dated.to_csv(index=False)


def test_text_is_printed_as_it_is(capsys):
    plain_console().print("[red]x[/bold] :snowflake:")
    assert capsys.readouterr().out == "[red]x[/bold] :snowflake:\n"


def test_a_name_is_one_line_of_letters():
    assert printable("a\0b\nc\x1b[2J") == "a b c [2J"
    assert printable("Ötztal 雪 [x]") == "Ötztal 雪 [x]"
