{#- No `with` here: a join with the days of a build is to go through the table's index. -#}
select
    id as restatement_id,
    account_id,
    report,
    run_id,
    changed_rows,
    (before ->> 'rows')::integer as rows_before,
    (after ->> 'rows')::integer as rows_after,
    (before ->> 'spend')::numeric as spend_before,
    (after ->> 'spend')::numeric as spend_after,
    (before ->> 'impressions')::bigint as impressions_before,
    (after ->> 'impressions')::bigint as impressions_after,
    date,
    restated_at
from {{ source('tributary', 'restatements') }}
