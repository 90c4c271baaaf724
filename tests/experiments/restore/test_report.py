"""The summary table of a run counts what failed and what was chosen."""

from experiments.restore import report
from experiments.restore.report import summary, summary_rows
from support.report_lines import line


def test_summary_counts_what_is_not_finite_as_failure():
    records = [line("a", 0, 30, 1.0), line("b", 0, 10, 2.0), line("c", 0, None, None, finite=False)]
    row = summary_rows(records, 20)[0]
    assert row[:7] == ("t", "m", "3", "20.00 (10.00)", "10.00", "0.200 (0.100)", "0.250")
    assert row[7:] == ("2/3 (67 %)", "1.500", "5.0", "0.500", "1.00")
    assert summary_rows(records[2:], 20)[0][3:8] == ("-", "-", "-", "-", "1/1 (100 %)")


def test_best_of_by_psnr_and_by_misfit():
    first = [line("a", 0, 30, 3.0), line("a", 1, 20, 1.0)]
    records = [*first, line("b", 0, None, None, finite=False), line("b", 1, 25, 2.0)]
    rows = {row[1]: row[3] for row in summary_rows(records, 20)}
    assert rows == {
        "m": "25.00 (4.08)",
        "m, best of 2 by PSNR": "27.50 (2.50)",
        "m, best of 2 by misfit": "22.50 (2.50)",
    }
    assert len({len(text) for text in summary(records, 20).splitlines()[:5]}) == 1
    assert "No LPIPS" not in summary(records, 20)


def test_a_table_without_lpips_says_why(monkeypatch):
    monkeypatch.setattr(report, "installed_weights", lambda: (None, "install the package"))
    assert "No LPIPS: install the package." in summary(
        [line("a", 0, 30, 3.0) | {"lpips": None}], 20
    )
