{#- Whom an ad set is meant to reach, in one line: "ID, SG · 18–45 · women · 2 audiences". -#}
{% macro targeting_summary(targeting) -%}
    nullif(
        concat_ws(
            ' · ',
            (
                select string_agg(country.code, ', ' order by country.code)
                from jsonb_array_elements_text(
                    jsonb_path_query_array({{ targeting }}, '$.geo_locations.countries[*]')
                ) as country (code)
            ),
            case
                when {{ targeting }} ?| array['age_min', 'age_max']
                    then concat(
                        coalesce({{ targeting }} ->> 'age_min', '18'),
                        '–',
                        coalesce({{ targeting }} ->> 'age_max', '65')
                    )
            end,
            case {{ targeting }} -> 'genders'
                when '[1]'::jsonb then 'men'
                when '[2]'::jsonb then 'women'
            end,
            {{ counted(targeting, 'custom_audiences', 'audience') }},
            {{ counted(targeting, 'excluded_custom_audiences', 'excluded audience') }}
        ),
        ''
    )
{%- endmacro %}


{#- "2 audiences", from a list in a JSON object; null when it is absent or empty. -#}
{% macro counted(object, list, noun) -%}
    {%- set count = "jsonb_array_length(jsonb_path_query_array(" ~ object ~ ", '$." ~ list ~ "[*]'))" -%}
    case {{ count }}
        when 0 then null
        when 1 then '1 {{ noun }}'
        else {{ count }} || ' {{ noun }}s'
    end
{%- endmacro %}
