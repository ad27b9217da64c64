with

source as (
    select * from {{ source('meta', 'meta_campaigns') }}
),

renamed as (
    select
        id as fb_campaign_id,
        account_id,
        {{ meta_text('name') }} as campaign_name,
        {{ meta_text('objective') }} as objective,
        {{ meta_text('status') }} as status,
        {{ meta_text('effective_status') }} as effective_status,
        {{ meta_budget('daily_budget') }} as daily_budget_minor,
        {{ meta_budget('lifetime_budget') }} as lifetime_budget_minor,
        {{ meta_time('start_time') }} as start_time,
        {{ meta_time('stop_time') }} as stop_time,
        {{ meta_time('created_time') }} as created_at,
        {{ meta_time('updated_time') }} as updated_at,
        extracted_at
    from source
)

select * from renamed
