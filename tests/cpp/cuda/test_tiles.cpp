#include <doctest/doctest.h>

#include <set>
#include <utility>
#include <vector>

#include "cuda/quantiles.hpp"
#include "cuda/tiles.hpp"

using namespace steppe::cuda;

TEST_CASE_TEMPLATE("threads share a tile: each row and site has 16 holders, who find it where they say", Tile,
                   PlainTile<float>, PlainTile<double>, TensorTile) {
  std::set<std::pair<int, int>> scores;
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int i = 0; i < Tile::kSide; ++i) {
      for (int j = 0; j < Tile::kSide; ++j) scores.insert({Tile::row(thread, i), Tile::site(thread, j)});
      if (i > 0) CHECK(Tile::site(thread, i) > Tile::site(thread, i - 1));  // so the first of equals is the lowest
    }
  }
  CHECK(scores.size() == static_cast<std::size_t>(Tile::kWidth) * Tile::kWidth);
  CHECK(*scores.begin() == std::pair(0, 0));
  CHECK(*scores.rbegin() == std::pair(Tile::kWidth - 1, Tile::kWidth - 1));
  for (int at = 0; at < Tile::kWidth; ++at) {
    std::set<int> rows, sites;
    for (int sharer = 0; sharer < kSharers; ++sharer) {
      rows.insert(Tile::holder_of_row(at, sharer));
      sites.insert(Tile::holder_of_site(at, sharer));
      CHECK(Tile::row(Tile::holder_of_row(at, sharer), Tile::place_of_row(at)) == at);
      CHECK(Tile::site(Tile::holder_of_site(at, sharer), Tile::place_of_site(at)) == at);
    }
    CHECK(rows.size() == kSharers);
    CHECK(sites.size() == kSharers);
  }
}

TEST_CASE_TEMPLATE("eight neighbours read 16 bytes each from 32 different banks", Tile, PlainTile<float>,
                   PlainTile<double>) {
  const int words = std::is_same_v<Tile, PlainTile<float>> ? 1 : 2;
  for (int first = 0; first < 32; first += 8) {
    std::set<int> banks;
    for (int lane = first; lane < first + 8; ++lane) {
      for (int word = 0; word < 4; ++word) banks.insert((Tile::site(lane, 0) * Tile::kPitch * words + word) % 32);
    }
    CHECK(banks.size() == 32);
  }
}

TEST_CASE("lanes of a tensor fragment read rows and features that fill the banks") {
  for (int first = 0; first < 32; first += 8) {
    std::set<int> banks;
    for (int lane = first; lane < first + 8; ++lane) {
      for (int word = 0; word < 4; ++word) {
        banks.insert((TensorTile::row(lane, 0) * TensorTile::kPitch + lane % 4 * 4 + word) % 32);
      }
    }
    CHECK(banks.size() == 32);
  }
}

TEST_CASE("what a tile holds is stored by all threads in whole vectors") {
  CHECK(PlainTile<float>::kWidth * PlainTile<float>::kDepth % (kThreads * 4) == 0);
  CHECK(PlainTile<double>::kWidth * PlainTile<double>::kDepth % (kThreads * 2) == 0);
  CHECK(TensorTile::kWidth * TensorTile::kDepth % (kThreads * 4) == 0);
  CHECK(TensorTile::kDepth % PlainTile<float>::kDepth == 0);  // sites are padded once, for every form
  CHECK(TensorTile::kWidth % PlainTile<double>::kWidth == 0);
}

TEST_CASE("blocks of columns fit the budget, and leave no stream without work") {
  CHECK(columns_at_a_time(4000, 1 << 20, std::size_t{512} << 20, 2) == 500);
  CHECK(columns_at_a_time(100, 1 << 10, std::size_t{512} << 20, 2) == 50);
  CHECK(columns_at_a_time(1, 1 << 10, std::size_t{512} << 20, 2) == 1);
  CHECK(columns_at_a_time(10, std::size_t{1} << 40, std::size_t{512} << 20, 2) == 1);
  CHECK(columns_at_a_time(0, 1 << 10, std::size_t{512} << 20, 2) == 1);
  CHECK(tiles_for(0, 128) == 0);
  CHECK(tiles_for(129, 128) == 2);
  CHECK(padded_to(129, 128) == 256);
}

TEST_CASE("common quantiles of two samples cover each rank once") {
  for (const auto& [n_x, n_y] :
       std::vector<std::pair<int, int>>{{1, 1}, {5, 5}, {3, 7}, {7, 3}, {1, 9}, {9, 1}, {6, 4}}) {
    std::vector<std::int64_t> of_y(static_cast<std::size_t>(n_y));
    for (int r = 0; r < n_x; ++r) {
      std::int64_t of_x = 0;
      for_common_quantiles(r, n_x, n_y, [&](std::int64_t k, std::int64_t common) {
        CHECK(common > 0);
        of_x += common;
        of_y[static_cast<std::size_t>(k)] += common;
      });
      CHECK(of_x == n_y);
    }
    for (const std::int64_t share : of_y) CHECK(share == n_x);
  }
}

TEST_CASE("mean over quantiles") {
  const std::vector<double> y{1, 2, 4, 8};
  CHECK(quantile_mean(y.data(), 4, 2, 4) == 4);
  CHECK(quantile_mean(y.data(), 4, 1, 2) == 6);
  CHECK(quantile_mean(y.data(), 4, 0, 1) == 3.75);
  CHECK(quantile_mean(y.data(), 4, 5, 8) == 4);
  CHECK(quantile_mean(y.data(), 4, 0, 3) == doctest::Approx((1 + 2.0 / 3) * 3 / 4));
}
