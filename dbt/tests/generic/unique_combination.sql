{#-
    With `recent`, a column that says when, only of the newest rows by it: for what is large and does
    not change much behind them.
-#}
{% test unique_combination(model, columns, recent=none) %}
select
    {{ columns | join(', ') }},
    count(*) as occurrences
from {{ model }}
{%- if recent %}
where {{ recent }} >= (select max({{ recent }}) from {{ model }}) - interval '3 days'
{%- endif %}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
