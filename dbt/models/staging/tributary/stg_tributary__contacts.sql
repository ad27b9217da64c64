with

source as (
    select * from {{ source('tributary', 'contacts') }}
),

renamed as (
    select
        brand_id,
        contact_id,
        nullif(trim(ad_id), '') as ad_id,
        coalesce(nullif(fbclid, ''), nullif(split_part(fbc, '.', 4), '')) as fb_click_id,
        nullif(gclid, '') as gclid,
        case
            when
                fbc ~ '^fb\.\d\.\d{13}\.'
                then to_timestamp(split_part(fbc, '.', 3)::bigint / 1000.0)
        end as clicked_at,
        first_seen_at,
        last_seen_at
    from source
)

select * from renamed
