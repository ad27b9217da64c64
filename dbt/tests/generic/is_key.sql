{#- `unique` and `not_null` in one question: every row has a value, and no other row has it. -#}
{% test is_key(model, column_name) %}
select
    {{ column_name }},
    count(*) as occurrences
from {{ model }}
group by {{ column_name }}
having count(*) > 1 or {{ column_name }} is null
{% endtest %}
