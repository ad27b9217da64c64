{#-
    With `recent`, a column that says when, only of the newest three days by it: for what is large
    and does not change much behind them. `newest_in` is a relation that tells the newest day at
    less cost.
-#}
{% test unique_combination(model, columns, recent=none, newest_in=none) %}
select
    {{ columns | join(', ') }},
    count(*) as occurrences
from {{ model }}
{%- if recent %}
where {{ recent }} >= (
    select max({{ recent }}) from {{ newest_in or model }}
) - interval '3 days'
{%- endif %}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
