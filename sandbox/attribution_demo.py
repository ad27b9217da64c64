"""What the demo shows of attribution: ROAS and CPA, what has no ad and why, and a chart."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from tributary import config, warehouse

console = Console(highlight=False, width=max(140, Console().width))


def print_attribution(connection: warehouse.Connection) -> None:
    """Print the tables and write the chart, `attribution.svg` in the home of local state."""
    model = connection.execute("select min(model) as model from marts.ad_attributions").fetchone()
    if model is None or model["model"] is None:
        return
    performance = _table(
        f"ROAS and CPA by campaign, all days, model {model['model']}, in the brand's currency",
        ("brand", "campaign", "currency"),
        ("spend", "purchases", "attributed revenue", "ROAS", "CPA"),
    )
    for row in connection.execute(_BY_CAMPAIGN, model):
        performance.add_row(
            row["brand"], row["campaign"], row["currency"], _money(row["spend"]),
            f"{row['purchases']:,.0f}", _money(row["revenue"]), _money(row["roas"]),
            _money(row["cpa"]),
        )  # fmt: skip
    console.print()
    console.print(performance)

    reasons = _table("Purchases without an ad", ("brand", "reason"), ("purchases", "share"))
    for row in connection.execute(_REASONS):
        reasons.add_row(row["brand"], row["reason"], f"{row['purchases']:,}", f"{row['share']:.1%}")
    console.print()
    console.print(reasons)

    path = _draw(connection, model["model"], config.home() / "attribution.svg")
    console.print(f"Spend against attributed revenue, by week: {path}", soft_wrap=True)


def _draw(connection: warehouse.Connection, model: str, path: Path) -> Path:
    import pygal

    weeks: set[str] = set()
    sums: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for row in connection.execute(_BY_WEEK, {"model": model}):
        weeks.add(row["week"])
        brand = f"{row['brand']}, {row['currency']}"
        sums[brand][row["week"]] = (float(row["spend"]), float(row["revenue"]))
    chart = pygal.Line(
        title=f"Spend and attributed revenue by week ({model})",
        width=1000,
        height=500,
        legend_at_bottom=True,
        x_label_rotation=30,
        include_x_axis=True,
        stroke_style={"width": 3},
        value_formatter=lambda value: f"{value:,.0f}",
        js=(),  # a picture, without scripts from elsewhere
        style=pygal.style.CleanStyle(
            # One colour a brand: light for spend, dark for revenue.
            colors=("#7fb3d5", "#1a5276", "#f0b27a", "#a04000", "#82e0aa", "#1d8348"),
            background="white",
            plot_background="white",
            font_family="sans-serif",
            guide_stroke_color="#e0e0e0",
            guide_stroke_dasharray="0",
            major_guide_stroke_color="#c0c0c0",
            major_guide_stroke_dasharray="0",
        ),
    )
    labels = sorted(weeks)
    chart.x_labels = labels
    for brand, by_week in sorted(sums.items()):
        for number, name in enumerate(("spend", "attributed revenue")):
            values = [by_week[week][number] if week in by_week else None for week in labels]
            chart.add(f"{brand}: {name}", values)
    chart.render_to_file(str(path))
    return path


def _money(value: object) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _table(title: str, words: tuple[str, ...], figures: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


_BY_CAMPAIGN = """
select
    b.name as brand, coalesce(c.name, '(unknown)') as campaign, p.reporting_currency as currency,
    sum(p.reporting_spend) as spend, sum(p.attributed_conversions) as purchases,
    sum(p.reporting_attributed_value) as revenue,
    sum(p.reporting_attributed_value) / nullif(sum(p.reporting_spend), 0) as roas,
    sum(p.reporting_spend) / nullif(sum(p.attributed_conversions), 0) as cpa
from marts.campaign_performance as p
inner join marts.ad_campaigns as c on c.id = p.campaign_id
inner join ops.brands as b on b.slug = p.brand_slug
where p.model = %(model)s
group by 1, 2, 3
order by 1, 4 desc
"""

_REASONS = """
select
    b.name as brand, coalesce(a.unattributed_reason, '(an ad, ad set or campaign is known)')
    as reason, count(*) as purchases,
    count(*)::float / sum(count(*)) over (partition by b.name) as share
from marts.ad_attributions as a
inner join ops.brands as b on b.slug = a.brand_slug
group by 1, 2, a.unattributed_reason
order by 1, a.unattributed_reason is null desc, 3 desc
"""

# Whole weeks that both spend and purchases reach into.
_BY_WEEK = """
with days as (
    select min(date) as first, max(date) as last from marts.ad_spend
)
select
    b.name as brand, p.reporting_currency as currency,
    date_trunc('week', p.date)::date::text as week,
    coalesce(sum(p.reporting_spend), 0) as spend,
    coalesce(sum(p.reporting_attributed_value) filter (where p.account_id is not null), 0)
    as revenue
from marts.campaign_performance as p
inner join ops.brands as b on b.slug = p.brand_slug
cross join days
where
    p.model = %(model)s
    and date_trunc('week', p.date) >= days.first
    and date_trunc('week', p.date) + interval '6 days' <= days.last
group by 1, 2, 3
order by 1, 2, 3
"""
