{#-
    With `recent`, a column that says when, only of the newest three days by it: for what is large
    and does not change much behind them. `newest_in` is a relation that has the newest day at
    less cost. The day is asked for beforehand: only a constant finds its way into a view.
-#}
{% test unique_combination(model, columns, recent=none, newest_in=none) %}
{%- if recent and execute -%}
    {%- set newest = run_query("select max(" ~ recent ~ ") from " ~ (newest_in or model)).rows[0][0] -%}
{%- endif -%}
select
    {{ columns | join(', ') }},
    count(*) as occurrences
from {{ model }}
{%- if recent and newest %}
where {{ recent }} >= '{{ newest }}'::timestamptz - interval '3 days'
{%- endif %}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
