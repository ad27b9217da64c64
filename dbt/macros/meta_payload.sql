{#-
    Reading Meta's JSON. Numbers are strings, what does not apply is absent, times have no colon in
    their offset, and "never" is the epoch.

    What cannot be read as a number or a time is null: a cast that fails would stop the marts of all
    brands for one row of one account. Plain SQL, since `pg_input_is_valid` is newer than Postgres 15
    and takes "NaN" and "infinity" as well.
-#}
{% macro meta_text(key) -%}
    nullif(payload ->> '{{ key }}', '')
{%- endmacro %}


{#-
    A text as a number: digits with a sign and decimals, as strings or as JSON's own numbers. No
    exponent, no NaN. Of at most 30 characters: no sum of such numbers is too large for `numeric`.
-#}
{% macro number_or_null(text, characters=30) -%}
    case
        when length({{ text }}) <= {{ characters }} and {{ text }} ~ '^-?\d+(\.\d+)?$'
            then ({{ text }})::numeric
    end
{%- endmacro %}


{% macro meta_number(key, characters=30) -%}
    {{ number_or_null("payload ->> '" ~ key ~ "'", characters) }}
{%- endmacro %}


{#- A count: absent means that nothing was counted. No sum of 15 digits is too large for `bigint`. -#}
{% macro meta_count(key) -%}
    coalesce({{ meta_number(key, characters=15) }}, 0)::bigint
{%- endmacro %}


{#- ISO 8601 with an offset, of a day that exists: "2026-02-30" would fail the cast. -#}
{% macro meta_time(key) -%}
    {%- set text = "payload ->> '" ~ key ~ "'" -%}
    case
        when
            {{ text }}
            ~ '^(?!0000)\d{4}-\d\d-\d\dT([01]\d|2[0-3])(:[0-5]\d){2}(\.\d+)?(Z|[+-](0\d|1[0-4]):?[0-5]\d)$'
            and jsonb_path_exists(
                to_jsonb(left({{ text }}, 10)), '$.datetime("YYYY-MM-DD")', silent => true
            )
            then nullif(({{ text }})::timestamptz, 'epoch'::timestamptz)
    end
{%- endmacro %}


{#- The code of a currency (ISO 4217). -#}
{% macro meta_currency(key) -%}
    substring(payload ->> '{{ key }}', '^[A-Z]{3}$')
{%- endmacro %}


{#- The name of a time zone, as Postgres knows it: any other would fail where it is used. -#}
{% macro meta_time_zone(key) -%}
    case
        when {{ meta_text(key) }} in (select name from pg_timezone_names)
            then {{ meta_text(key) }}
    end
{%- endmacro %}


{#- A budget in minor units; Meta says "0" where this kind of budget is not set. -#}
{% macro meta_budget(key) -%}
    nullif({{ meta_number(key) }}, 0)
{%- endmacro %}


{#-
    The value of the first of these action types that Meta reports in a list of actions; null when
    it reports none of them. Types overlap (`omni_purchase` holds `purchase`): never add them up.
-#}
{% macro meta_action(list, action_types) -%}
    {#- `substring` evaluates the search once; where it is cheap, `number_or_null` is quicker. -#}
    substring(
        coalesce(
            {%- for action_type in action_types %}
            jsonb_path_query_first(
                payload, '$.{{ list }}[*] ? (@.action_type == "{{ action_type }}").value'
            ) #>> '{}'{{ "," if not loop.last }}
            {%- endfor %}
        ),
        '^(?!.{31})-?\d+(?:\.\d+)?$'
    )::numeric
{%- endmacro %}
