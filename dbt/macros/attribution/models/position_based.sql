{#- The oldest and the newest touch have fixed shares (vars `attribution_position_first` and
    `attribution_position_last`: 40 % each), those between them the rest, evenly. Of two touches
    there is no touch between them: the fixed shares are all there is. -#}
{% macro shares_position_based() -%}
    case
        when path.touch_index = 1 then {{ attribution_setting('attribution_position_first') }}
        when path.touch_index = path.touch_count
            then {{ attribution_setting('attribution_position_last') }}
        else
            (
                1 - {{ attribution_setting('attribution_position_first') }}
                - {{ attribution_setting('attribution_position_last') }}
            )::float8 / (path.touch_count - 2)
    end
{%- endmacro %}
