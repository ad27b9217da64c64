{#-
    Reading Meta's JSON. Numbers are strings, what does not apply is absent, times have no colon in
    their offset, and "never" is the epoch.
-#}
{% macro meta_text(key) -%}
    nullif(payload ->> '{{ key }}', '')
{%- endmacro %}


{% macro meta_number(key) -%}
    {{ meta_text(key) }}::numeric
{%- endmacro %}


{#- A count: absent means that nothing was counted. -#}
{% macro meta_count(key) -%}
    coalesce({{ meta_text(key) }}::numeric, 0)::bigint
{%- endmacro %}


{% macro meta_time(key) -%}
    nullif({{ meta_text(key) }}::timestamptz, 'epoch'::timestamptz)
{%- endmacro %}


{#- A budget in minor units; Meta says "0" where this kind of budget is not set. -#}
{% macro meta_budget(key) -%}
    nullif({{ meta_text(key) }}::numeric, 0)
{%- endmacro %}


{#-
    The value of the first of these action types that Meta reports in a list of actions; null when
    it reports none of them. Types overlap (`omni_purchase` holds `purchase`): never add them up.
-#}
{% macro meta_action(list, action_types) -%}
    coalesce(
        {%- for action_type in action_types %}
        jsonb_path_query_first(
            payload, '$.{{ list }}[*] ? (@.action_type == "{{ action_type }}").value'
        ) #>> '{}'{{ "," if not loop.last }}
        {%- endfor %}
    )::numeric
{%- endmacro %}
