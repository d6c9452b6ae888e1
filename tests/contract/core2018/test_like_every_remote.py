"""What every remote promises, asked of the one for a server of 2018.

The tests are those of the remote of today, as far as both can do what they ask for.
"""

from __future__ import annotations

from fwsync.ports import Remote
from fwsync.remotes.core2018.remote import Core2018
from tests.contract.test_faults import (
    spoilt,
    test_416_is_an_error_of_this_file,
    test_a_body_of_another_length_is_an_error,
    test_a_creation_that_failed_is_tried_again,
    test_a_cut_archive_gives_what_was_whole,
    test_a_deletion_whose_answer_was_lost_is_done,
    test_a_listing_may_be_left_in_the_middle,
    test_a_lost_answer_to_an_upload_is_found_by_looking,
    test_a_project_that_is_gone_is_not_an_empty_one,
    test_a_run_that_is_stopped_leaves_no_part_of_a_file,
    test_a_server_that_ignores_ranges_is_read_past,
    test_a_silent_server_ends_the_listing,
    test_a_ticket_that_is_used_up_is_asked_for_again,
    test_a_web_page_instead_of_an_archive_is_an_error,
    test_an_archive_much_larger_than_planned_is_not_read_to_its_end,
    test_an_upload_is_not_taken_for_done_without_its_entry,
    test_another_range_than_was_asked_for_is_an_error,
)
from tests.contract.test_remote import (
    test_a_file_is_read_from_any_offset,
    test_a_file_that_changes_while_it_is_sent_leaves_nothing_behind,
    test_a_file_that_is_not_there_is_none,
    test_an_empty_project_lists_nothing,
    test_deleting_twice_is_no_error,
    test_members_may_be_left_unread,
    test_names_that_the_server_would_change_are_refused,
    test_odd_labels_and_names_come_back_as_they_were,
    test_paths_without_an_address_are_refused,
)

__all__ = [
    "spoilt",
    "test_416_is_an_error_of_this_file",
    "test_a_body_of_another_length_is_an_error",
    "test_a_creation_that_failed_is_tried_again",
    "test_a_cut_archive_gives_what_was_whole",
    "test_a_deletion_whose_answer_was_lost_is_done",
    "test_a_file_is_read_from_any_offset",
    "test_a_file_that_changes_while_it_is_sent_leaves_nothing_behind",
    "test_a_file_that_is_not_there_is_none",
    "test_a_listing_may_be_left_in_the_middle",
    "test_a_lost_answer_to_an_upload_is_found_by_looking",
    "test_a_project_that_is_gone_is_not_an_empty_one",
    "test_a_run_that_is_stopped_leaves_no_part_of_a_file",
    "test_a_server_that_ignores_ranges_is_read_past",
    "test_a_silent_server_ends_the_listing",
    "test_a_ticket_that_is_used_up_is_asked_for_again",
    "test_a_web_page_instead_of_an_archive_is_an_error",
    "test_an_archive_much_larger_than_planned_is_not_read_to_its_end",
    "test_an_empty_project_lists_nothing",
    "test_an_upload_is_not_taken_for_done_without_its_entry",
    "test_another_range_than_was_asked_for_is_an_error",
    "test_deleting_twice_is_no_error",
    "test_members_may_be_left_unread",
    "test_names_that_the_server_would_change_are_refused",
    "test_odd_labels_and_names_come_back_as_they_were",
    "test_paths_without_an_address_are_refused",
]


def test_it_is_a_remote(remote: Core2018) -> None:
    seen: Remote = remote

    assert (False, True) == (seen.features.versions, seen.features.digests)
