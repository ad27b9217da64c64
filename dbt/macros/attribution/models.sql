{#- The models of the var `attribution_models` that have a macro of this kind: winner or shares. -#}
{% macro models_of_kind(kind) -%}
    {%- set names = [] -%}
    {%- for name in attribution_setting('attribution_models') if context.get(kind ~ '_' ~ name) -%}
        {%- do names.append(name) -%}
    {%- endfor -%}
    {{ return(names) }}
{%- endmacro %}


{#- What the macro of a model says: `winner_<name>` a condition, `shares_<name>` a number. -#}
{% macro model_sql(kind, name) -%}
    {{ context[kind ~ '_' ~ name]() }}
{%- endmacro %}
