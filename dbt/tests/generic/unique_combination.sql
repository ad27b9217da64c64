{#- With `recent` only of the newest days: for views, whose check would cost more every day. -#}
{% test unique_combination(model, columns, recent=false) %}
select
    {{ columns | join(', ') }},
    count(*) as occurrences
from {{ model }}
{%- if recent %}
where {{ recent_days() }}
{%- endif %}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
