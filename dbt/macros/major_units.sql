{#-
    Minor units to major units by Meta's own table, which is not ISO 4217's; null when the account's
    currency is not known. Expects `accounts` and `currency_offsets` among the joined tables.
-#}
{% macro major_units(amount) -%}
    case
        when accounts.currency is not null
            then trim_scale({{ amount }} / coalesce(currency_offsets.minor_units, 100))
    end
{%- endmacro %}
