//! What every implementation of [`longshore_store::Store`] promises: [`suite`] makes a test of each promise.

pub(crate) mod accounts;
pub(crate) mod audit;
pub(crate) mod bash;
pub(crate) mod conversations;
pub(crate) mod events;
pub(crate) mod finding;
pub(crate) mod sandboxes;
pub(crate) mod settings;
pub(crate) mod usage;
pub(crate) mod vitals;
pub(crate) mod workspaces;

/// `suite!(open)` makes the tests for stores that `open()` makes: a value with `store() -> Arc<dyn Store>`.
macro_rules! suite {
    ($open:path) => {
        $crate::contract::suite! {
            $open,
            accounts: [users_are_kept_by_name, users_change, keys_are_found_and_end];
            audit: [
                records_come_back_as_they_were, filters_combine, both_directions_page, concurrent_writers_make_one_chain, old_records_go,
                long_texts_are_cut,
            ];
            bash: [events_come_in_order, filters_combine, scopes_are_apart, unfinished_commands_are_found, pages_join, the_oldest_make_room];
            conversations: [
                a_conversation_comes_back_as_it_was, one_of_many_creators_wins, owners_do_not_meet,
                lists_are_ordered_and_paged, lists_filter, children_and_running_ones_are_found,
                deletion_takes_everything, changes_are_kept,
            ];
            events: [
                events_come_back_in_order, a_commit_at_the_wrong_place_changes_nothing, a_taken_event_id_is_refused,
                a_commit_to_no_conversation_is_refused, calls_are_kept_in_order, parallel_writers_do_not_disturb_each_other,
                arguments_come_back, ids_find_events, one_of_many_writers_at_a_place_wins,
            ];
            finding: [pages_join, every_filter_counts_and_finds, text_is_found_in_messages_only];
            sandboxes: [a_place_has_one_box, changes_and_events_are_kept, a_pooled_box_is_claimed_once, old_events_go];
            settings: [settings_are_kept, secrets_are_kept, a_closed_store_says_so];
            usage: [
                calls_are_summed_by_day_model_and_owner, a_refused_commit_spends_nothing,
                what_was_spent_outlives_the_conversation, conversations_are_listed_by_cost, absurd_counts_do_no_harm,
                many_models_become_others, parallel_calls_are_all_counted,
            ];
            workspaces: [workspaces_are_their_owners, conversations_and_commands_are_found_by_workspace, options_change];
            vitals: [what_is_done_is_counted, a_closed_store_is_not_well];
        }
    };
    ($open:path, $($module:ident: [$($name:ident),* $(,)?];)*) => {
        $(mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let opened = $open();
                $crate::contract::$module::$name(opened.store()).await;
            })*
        })*
    };
}
pub(crate) use suite;
