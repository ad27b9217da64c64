{#- A touch counts half as much as one that came a half-life later (var `attribution_half_life_days`).
    Measured back from the newest touch, which changes no share and keeps the numbers from vanishing;
    so does the limit of 1,000 half-lives. -#}
{% macro shares_time_decay() -%}
    power(
        0.5::float8,
        least(
            extract(epoch from path.last_touched_at - path.touched_at)::float8
            / {{ attribution_setting('attribution_half_life_days') * 86400 }},
            1000
        )
    )
{%- endmacro %}
